"""Whether a snippet of text is positive or negative, as a task."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from paretune import Held, Task
from paretune.core.errors import TaskError

FILE = "vader_sentiment.jsonl.gz"
NEUTRAL = 0.5  # scores run from -4 to 4; those up to this far from 0 are left out
SHARES = (("test", 0.2), ("validation", 0.15), ("calibration", 0.03))
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|[:;=][-o']?[()dp/|]|<3|[!?]")
PADDING, UNKNOWN, START = 0, 1, 2
LENGTH = 40
VOCABULARY = 6_000
STEM = 4
HIDE = 0.15


def folder() -> Path:
    """Where the weights are kept: never beside the data."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    default = Path(cache_home) / "paretune" / "examples"
    return Path(os.environ.get("PARETUNE_EXAMPLES") or default) / "sentiment"


def data_file(data: Path | None = None) -> Path:
    """The data file in `data`, or else in the folder that PARETUNE_DATA names.

    Raises:
        TaskError: it isn't there.
    """
    root = data or os.environ.get("PARETUNE_DATA")
    if not root:
        raise TaskError(
            "data-not-found", f"set PARETUNE_DATA to the folder that holds {FILE}."
        )
    path = Path(root) / FILE
    if not path.is_file():
        raise TaskError(
            "data-not-found",
            f"no file {path}; set PARETUNE_DATA to the folder that holds {FILE}.",
        )
    return path


class Tokenizer:
    """Lower-case words, emoticons, "!" and "?", each with a number of its own.

    A word without one takes that of the longest known word that it begins with, of
    STEM letters or more: "disappointingly" becomes "disappointing".

    Args:
        texts: what the vocabulary is taken from: the most frequent words first, those
            of one count in alphabetical order; words met once are left out.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        counts = Counter(word for text in texts for word in WORD.findall(text.lower()))
        known = sorted((-n, word) for word, n in counts.items() if n > 1)
        words = [word for _, word in known[: VOCABULARY - 3]]
        self.numbers = {word: 3 + i for i, word in enumerate(words)}

    def __call__(self, text: str) -> np.ndarray:
        """int64 (LENGTH,): a start mark, the words, padding."""
        words = WORD.findall(text.lower())[: LENGTH - 1]
        numbers = [START, *map(self._number, words)]
        return np.array(numbers + [PADDING] * (LENGTH - len(numbers)), np.int64)

    def _number(self, word: str) -> int:
        starts = [word, *(word[:end] for end in range(len(word) - 1, STEM - 1, -1))]
        return next((self.numbers[s] for s in starts if s in self.numbers), UNKNOWN)


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.head_dim = width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, length, _ = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention and a perceptron, each after a normalisation and around a bypass."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), mask))
        return x + self.dropout(self.mlp(self.norm2(x)))


class Net(nn.Module):
    """A transformer encoder that averages over the words of a snippet."""

    def __init__(
        self, width: int = 96, heads: int = 4, layers: int = 2, dropout: float = 0.3
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, width)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.position = nn.Parameter(torch.randn(1, LENGTH, width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (n, 2) of token numbers (n, LENGTH); 0 is padding."""
        there = tokens != PADDING
        mask = there[:, None, None, :]
        x = self.dropout(self.embed(tokens) + self.position)
        for layer in self.layers:
            x = layer(x, mask)
        weight = there[:, :, None].to(x.dtype)
        mean = (self.norm(x) * weight).sum(1) / weight.sum(1)
        return self.head(self.dropout(mean))


class Sentiment(Held, Task):
    """Positive or negative, for snippets of reviews, tweets and editorials.

    Args:
        data: folder of the data file; None: what PARETUNE_DATA names.
    """

    name = "sentiment"
    batch = 64

    def __init__(self, data: Path | None = None) -> None:
        self.data = data

    def model(self) -> nn.Module:
        path = folder() / "baseline.safetensors"
        if not path.is_file():
            raise TaskError(
                "model-not-found",
                f"no weights at {path}; run: python examples/sentiment/train.py",
            )
        model = Net()
        model.load_state_dict(load_file(path))
        return model.eval()

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(token numbers int64 (n, LENGTH), labels int64 (n,): 1 is positive)."""
        splits = scored(data_file(self.data))
        if name not in splits:
            raise TaskError("data-split", f"sentiment has no split {name!r}.")
        tokens, scores = splits[name]
        clear = np.abs(scores) > NEUTRAL
        return tokens[clear], (scores[clear] > 0).astype(np.int64)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets)

    def quality(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
        return {"accuracy": outputs.argmax(-1) == targets}

    def augment(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Hides some of the words."""
        hidden = (torch.rand(inputs.shape, device=inputs.device) < HIDE) & (
            inputs > START
        )
        return inputs.masked_fill(hidden, UNKNOWN), targets


def _split_of(record: dict[str, Any]) -> str:
    """The split of the review or article that a snippet is from."""
    source = f"{record['domain']} {record['id'].split('_')[0]}"
    digest = hashlib.sha256(source.encode()).digest()
    point = int.from_bytes(digest[:4], "big") / 2**32
    for name, share in SHARES:
        if point < share:
            return name
        point -= share
    return "train"


@cache
def scored(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(token numbers, mean human scores from -4 to 4) by split, neutral ones too.

    A snippet that reads the same as an earlier one is left out, wherever that one is.
    """
    texts: dict[str, list[tuple[str, float]]] = {name: [] for name, _ in SHARES}
    texts["train"] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            texts[_split_of(record)].append((record["text"], record["score"]))
    tokenizer = Tokenizer(text for text, _ in texts["train"])
    seen: set[bytes] = set()
    splits = {}
    for name, members in texts.items():
        rows, scores = [], []
        for text, score in members:
            numbers = tokenizer(text)
            if numbers.tobytes() not in seen:
                seen.add(numbers.tobytes())
                rows.append(numbers)
                scores.append(score)
        if not rows:
            raise TaskError("data-empty", f"{path} has no snippets for {name!r}.")
        splits[name] = np.stack(rows), np.array(scores, np.float32)
    return splits


task = Sentiment()
