"""Trains the baseline of the activity example and writes its weights."""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from safetensors.torch import save_file
from task import PAIRS, Activity, Net
from torch import nn

RATE, DECAY = 2e-3, 0.05


def accuracy(model: nn.Module, task: Activity, split: str) -> float:
    model.eval()
    windows, labels = task.split(split)
    with torch.inference_mode():
        logits = model(torch.from_numpy(windows)).numpy()
    return float(task.quality(logits, labels)["accuracy"].mean())


def train(task: Activity, epochs: int, most: int | None) -> nn.Module:
    """The network after `epochs` passes, each of at most `most` batches."""
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    each = most or math.ceil(len(task.split("train")[1]) / task.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=epochs * each + 1, pct_start=0.1
    )
    begin = time.perf_counter()
    for epoch in range(epochs):
        model.train()
        losses = []
        for number, (inputs, targets) in enumerate(task.batches("train")):
            if number == most:
                break
            x, y = task.augment(torch.from_numpy(inputs), torch.from_numpy(targets))
            loss = nn.functional.cross_entropy(model(x), y, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        if epoch % 5 == 4 or epoch == epochs - 1:
            print(
                f"epoch {epoch + 1}/{epochs}  loss {np.mean(losses):.3f}  "
                f"validation {accuracy(model, task, 'validation'):.4f}  "
                f"{time.perf_counter() - begin:.0f} s",
                flush=True,
            )
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of watch_har_50hz.npz")
    parser.add_argument("--out", type=Path, help="the weights' file")
    parser.add_argument("--fold", type=int, default=3, help="0 to 4")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--quick", action="store_true", help="a few batches only")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    np.random.seed(0)
    torch.manual_seed(0)
    task = Activity(given.data, given.fold)
    model = train(task, *((1, 2) if given.quick else (given.epochs, None)))
    out = given.out or task.weights
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_suffix(f".{os.getpid()}")
    save_file(model.state_dict(), draft)
    draft.replace(out)
    print(
        f"test {accuracy(model, task, 'test'):.4f} on subjects {PAIRS[given.fold]}  "
        f"weights in {out}"
    )


if __name__ == "__main__":
    main()
