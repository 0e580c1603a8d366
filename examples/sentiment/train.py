"""Trains the baseline of the sentiment example and writes its weights.

The task's labels say only positive or negative; the baseline learns the graded human
scores behind them, the neutral snippets' too.
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
from task import Net, Sentiment, data_file, folder, scored
from torch import nn

RATE, DECAY = 1e-3, 0.1


def accuracy(model: nn.Module, task: Sentiment, split: str) -> float:
    model.eval()
    tokens, labels = task.split(split)
    with torch.inference_mode():
        parts = [model(part).numpy() for part in torch.from_numpy(tokens).split(256)]
    return float(task.quality(np.concatenate(parts), labels)["accuracy"].mean())


def train(task: Sentiment, epochs: int, most: int | None) -> nn.Module:
    """The network after `epochs` passes, each of at most `most` batches."""
    model = Net()
    decayed = [p for p in model.parameters() if p.ndim == 2]
    other = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": decayed}, {"params": other, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, RATE, weight_decay=DECAY)
    tokens, scores = map(torch.from_numpy, scored(data_file(task.data))["train"])
    positive = torch.sigmoid(scores)
    wanted = torch.stack([1 - positive, positive], 1)
    each = most or math.ceil(len(tokens) / task.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=epochs * each + 1, pct_start=0.1
    )
    begin = time.perf_counter()
    for epoch in range(epochs):
        model.train()
        losses = []
        for rows in torch.randperm(len(tokens)).split(task.batch)[:each]:
            x, y = task.augment(tokens[rows], wanted[rows])
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(
            f"epoch {epoch + 1}/{epochs}  loss {np.mean(losses):.3f}  "
            f"validation {accuracy(model, task, 'validation'):.4f}  "
            f"{time.perf_counter() - begin:.0f} s",
            flush=True,
        )
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of vader_sentiment.jsonl.gz")
    parser.add_argument("--out", type=Path, help="the weights' file")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--quick", action="store_true", help="a few batches only")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    task = Sentiment(given.data)
    model = train(task, *((1, 2) if given.quick else (given.epochs, None)))
    out = given.out or folder() / "baseline.safetensors"
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_suffix(f".{os.getpid()}")
    save_file(model.state_dict(), draft)
    draft.replace(out)
    print(f"test {accuracy(model, task, 'test'):.4f}  weights in {out}")


if __name__ == "__main__":
    main()
