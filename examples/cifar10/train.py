"""Trains the baseline of the CIFAR-10 example and writes its weights."""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from safetensors.torch import save_file
from task import Cifar10, Net, folder
from torch import nn

RATE, DECAY, WARM = 0.1, 5e-4, 2.0


def accuracy(model: nn.Module, task: Cifar10, split: str, most: int | None) -> float:
    """Share of right answers on at most `most` batches of a split."""
    model.eval()
    right = []
    for number, (inputs, targets) in enumerate(task.batches(split)):
        if number == most:
            break
        with torch.inference_mode():
            outputs = model(torch.from_numpy(inputs)).numpy()
        right.append(task.quality(outputs, targets)["accuracy"])
    return float(np.concatenate(right).mean())


def train(task: Cifar10, epochs: int, most: int | None) -> nn.Module:
    """The network after `epochs` passes, each of at most `most` batches."""
    model = Net().to(memory_format=torch.channels_last)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    other = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed}, {"params": other, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(
        groups, RATE, momentum=0.9, weight_decay=DECAY, nesterov=True
    )
    each = most or math.ceil(len(task.split("train")[1]) / task.batch)
    begin = time.perf_counter()
    for epoch in range(epochs):
        model.train()
        losses = []
        for number, (inputs, targets) in enumerate(task.batches("train")):
            if number == most:
                break
            done = epoch + number / each
            cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done / epochs)))
            for group in optimizer.param_groups:
                group["lr"] = RATE * cosine * min(1.0, (done + 0.01) / WARM)
            x, y = task.augment(torch.from_numpy(inputs), torch.from_numpy(targets))
            with torch.autocast("cpu", torch.bfloat16):
                outputs = model(x.contiguous(memory_format=torch.channels_last))
            loss = nn.functional.cross_entropy(outputs.float(), y, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(
            f"epoch {epoch + 1}/{epochs}  loss {np.mean(losses):.3f}  "
            f"validation {accuracy(model, task, 'validation', most):.4f}  "
            f"{time.perf_counter() - begin:.0f} s",
            flush=True,
        )
    return model.to(memory_format=torch.contiguous_format).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of cifar10_jpeg.npz")
    parser.add_argument("--out", type=Path, help="the weights' file")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--quick", action="store_true", help="a few batches only")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    most = 2 if given.quick else None
    task = Cifar10(given.data)
    model = train(task, 1 if given.quick else given.epochs, most)
    out = given.out or folder() / "baseline.safetensors"
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_suffix(f".{os.getpid()}")
    save_file(model.state_dict(), draft)
    draft.replace(out)
    print(f"test {accuracy(model, task, 'test', most):.4f}  weights in {out}")


if __name__ == "__main__":
    main()
