"""Trains the baseline of the built-in task `fashion` and writes its weights.

Only the train split that the package ships is trained on. The validation accuracy is
shown, nothing is chosen by it: the weights are the moving average at the end. The test
split is read once, after that.

    python scripts/train_fashion.py [--epochs 80] [--out FILE]
"""

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
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from paretune.tasks._fashion_net import FashionNet
from paretune.tasks.fashion import BLACK, FOLDER, Fashion

RATE, DECAY, WARM = 0.1, 5e-4, 3.0
AVERAGE, SMOOTH, ERASE = 0.998, 0.1, 10


def accuracy(model: nn.Module, task: Fashion, split: str) -> float:
    model.eval()
    images, labels = task.split(split)
    with torch.inference_mode():
        logits = [model(part).numpy() for part in torch.from_numpy(images).split(500)]
    return float(task.quality(np.concatenate(logits), labels)["accuracy"].mean())


def erase(images: Tensor) -> Tensor:
    """Blackens a square of up to ERASE pixels a side in half of the images."""
    count, _, high, wide = images.shape
    side = torch.randint(2, ERASE + 1, (count, 1))
    side[torch.rand(count, 1) < 0.5] = 0
    top, left = torch.randint(0, high, (count, 1)), torch.randint(0, wide, (count, 1))
    rows, columns = torch.arange(high), torch.arange(wide)
    inside = ((rows >= top) & (rows < top + side))[:, :, None] & (
        (columns >= left) & (columns < left + side)
    )[:, None, :]
    return torch.where(inside[:, None], torch.tensor(BLACK), images)


def train(task: Fashion, epochs: int) -> nn.Module:
    """The moving average of the network after `epochs` passes."""
    model = FashionNet().to(memory_format=torch.channels_last)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    other = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed}, {"params": other, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(
        groups, RATE, momentum=0.9, weight_decay=DECAY, nesterov=True
    )
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE))
    each = len(task.split("train")[1]) // task.batch
    begin = time.perf_counter()
    for epoch in range(epochs):
        model.train()
        losses = []
        for number, (inputs, targets) in enumerate(task.batches("train")):
            done = epoch + number / each
            cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done / epochs)))
            for group in optimizer.param_groups:
                group["lr"] = RATE * cosine * min(1.0, (done + 0.01) / WARM)
            x, y = task.augment(torch.from_numpy(inputs), torch.from_numpy(targets))
            x = erase(x).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                outputs = model(x)
            loss = nn.functional.cross_entropy(
                outputs.float(), y, label_smoothing=SMOOTH
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update_parameters(model)
            losses.append(loss.item())
        if epoch % 5 == 4 or epoch == epochs - 1:
            print(
                f"epoch {epoch + 1}/{epochs}  loss {np.mean(losses):.3f}  "
                f"validation {accuracy(model, task, 'validation'):.4f}  "
                f"{time.perf_counter() - begin:.0f} s",
                flush=True,
            )
    images = torch.from_numpy(task.split("train")[0])
    update_bn(images.split(500), average)
    return average.module.to(memory_format=torch.contiguous_format).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=FOLDER / "baseline.safetensors")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    np.random.seed(given.seed)
    torch.manual_seed(given.seed)
    task = Fashion()
    model = train(task, given.epochs)
    save_file(model.state_dict(), given.out)
    print(
        f"validation {accuracy(model, task, 'validation'):.4f}  "
        f"test {accuracy(model, task, 'test'):.4f}  {given.out}"
    )


if __name__ == "__main__":
    main()
