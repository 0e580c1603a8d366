"""A million trials in one store: how long it takes to open, and to find the frontier.

The trials are made up, but their rows are what a search writes: bodies of about 3 kB
with 500 scores and six launches each, and the same figures as numbers. They are put in
by the thousand, without syncing, since to search a million times takes months. What is
read has been written a moment ago, so that the operating system has most of it in
memory; a disk that has gone cold takes what it takes to read a few hundred megabytes.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from bench._results import Results
from bench.search.engine import SPEC, exact, folder
from paretune import studies
from paretune.core.measurement import Measurement
from paretune.core.trial import Trial
from paretune.frontier import frontier, layout, record
from paretune.store.trials import Trials

TRIALS, CHECKED = 1_000_000, 20_000
SAMPLES, LAUNCHES, BLOCK = 500, 6, 10_000
METRICS = ("accuracy", "size", "latency_p50")
SHARE, EXACT, TIMES = 3, 1, 2  # kinds of figures in a record
REPEATS = 3

# What eight samples' bits are in a body's JSON.
OCTETS = [
    ", ".join("1.0" if byte >> bit & 1 else "0.0" for bit in range(7, -1, -1))
    for byte in range(256)
]


def blocks(trials: int) -> Iterator[tuple[np.ndarray, ...]]:
    """(numbers, bits of the samples, sizes, ratios) of some trials at a time.

    What is left of the model decides its size; by that and by luck it is right and
    fast. Trial 0 is the baseline, of which all is left.
    """
    rng = np.random.default_rng(0)
    easy = rng.beta(6, 0.6, SAMPLES)  # how often a sample is got right
    for start in range(0, trials, BLOCK):
        numbers = np.arange(start, min(start + BLOCK, trials))
        kept = rng.uniform(0.02, 1.0, len(numbers))
        skill = rng.uniform(0.75, 1.0, len(numbers)) * (1 - 0.4 * (1 - kept) ** 4)
        speed = (0.05 + 0.95 * kept) * rng.uniform(0.8, 1.3, len(numbers))
        if start == 0:
            kept[0] = skill[0] = speed[0] = 1.0
        right = rng.random((len(numbers), SAMPLES)) < easy * skill[:, None]
        noise = rng.normal(0, 0.01, (len(numbers), LAUNCHES))
        sizes = np.rint(1e5 + 9e5 * kept)
        yield numbers, np.packbits(right, axis=1), sizes, speed[:, None] * np.exp(noise)


def records(numbers: np.ndarray, *figures: np.ndarray) -> np.ndarray:
    """What the store keeps of them as numbers."""
    bits, sizes, ratios = figures
    found = np.zeros(len(numbers), layout(len(METRICS)))
    logs = np.log(ratios)
    found["number"] = numbers
    found["kind"] = SHARE, EXACT, TIMES
    found["value"][:, 0] = np.bitwise_count(bits).sum(axis=1) / SAMPLES
    found["value"][:, 1] = sizes
    found["value"][:, 2] = np.median(1e-3 * ratios, axis=1)
    found["mean"][:, 2] = logs.mean(axis=1)
    found["variance"][:, 2] = logs.var(axis=1, ddof=1) / LAUNCHES
    found["samples"] = SAMPLES, 0, LAUNCHES - 1
    if numbers[0] == 0:
        found["mean"][0, 2], found["variance"][0, 2] = 0.0, 0.0
        found["samples"][0, 2] = 1
    return found


def template() -> str:
    """A body with places for what differs."""
    ratios = tuple(float(i + 1) for i in range(LAUNCHES))
    taken = [
        Measurement("accuracy", "1", "higher", (0.5,), "samples", split="validation"),
        exact("size", 0.25, "byte"),
        exact("macs", 1e6),
        exact("parameters", 1e5),
        Measurement("latency_p50", "s", "lower", ratios, "launches", ratios),
    ]
    steps = [{"technique": "structured_pruning", "version": 1, "ratio": 0.5}] * 2
    trace = [{"step": s["technique"], "parameters": 1, "seconds": 0.0} for s in steps]
    body = Trial(
        -7,
        tuple(steps),
        "ok",
        {m.metric: m for m in taken},
        format="onnx",
        cost={"train_s": 1.0, "export_s": 0.1},
        trace=tuple(trace),
    )
    text = json.dumps(body.to_json()).replace("%", "%%").replace("-7", "%(number)d")
    launches = json.dumps(list(ratios))
    text = text.replace("[0.5]", "[%(scores)s]").replace("[0.25]", "[%(size)r]")
    return text.replace(launches, "[%(times)s]", 1).replace(launches, "[%(ratios)s]")


def bodies(numbers: np.ndarray, *figures: np.ndarray) -> Iterator[str]:
    text = template()
    rows = zip(numbers.tolist(), *(f.tolist() for f in figures), strict=True)
    for number, bits, size, ratios in rows:
        scores = ", ".join([OCTETS[byte] for byte in bits])[: 5 * SAMPLES - 2]
        yield text % {
            "number": number,
            "scores": scores,
            "size": size,
            "times": ", ".join([repr(1e-3 * r) for r in ratios]),
            "ratios": ", ".join(map(repr, ratios)),
        }


def fill(root: Path, trials: int) -> None:
    """A store of one study with that many trials that are ok."""
    store = Trials.open(root)
    store.create_study("s", SPEC)
    with closing(sqlite3.connect(root / "studies.db")) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        for block in blocks(trials):
            put(connection, block)
            connection.commit()


def put(connection: sqlite3.Connection, block: tuple[np.ndarray, ...]) -> None:
    numbers = block[0].tolist()
    texts = list(bodies(*block))
    kept = records(*block)
    first = Trial.from_json(json.loads(texts[-1]))
    assert record(first, METRICS) == kept[-1].tobytes(), "a search writes another row"
    connection.executemany(
        "INSERT INTO trials VALUES (1, ?, 1, 1, 0, 'ok', '[]', 0, ?)",
        zip(numbers, texts, strict=True),
    )
    connection.executemany(
        "INSERT INTO figures (study, number, record) VALUES (1, ?, ?)",
        zip(numbers, [row.tobytes() for row in kept], strict=True),
    )
    connection.executemany(
        "INSERT INTO scores (study, metric, number, samples) VALUES (1, ?, ?, ?)",
        [
            ("accuracy", n, bits.tobytes())
            for n, bits in zip(numbers, block[1], strict=True)
        ],
    )


def timed(root: Path) -> dict[str, Any]:
    """Seconds to open the store and to find the frontier, by the clock and the CPU."""
    begin, used = time.perf_counter(), time.process_time()
    store = Trials.open(root, create=False)
    middle, between = time.perf_counter(), time.process_time()
    found = studies.load_frontier("s", store, root)
    return {
        "open_s": middle - begin,
        "open_cpu_s": between - used,
        "frontier_s": time.perf_counter() - middle,
        "frontier_cpu_s": time.process_time() - between,
        "members": len(found.members),
    }


def run(results: Results, quick: bool) -> None:
    """Seconds to open and to find the frontier; that it is the true one."""
    trials = CHECKED if quick else TRIALS
    with folder(memory=False) as root:
        fill(root, CHECKED)
        same = agree(root)
    results.figure(
        f"members of {CHECKED} trials as from all bodies", same, "= 1", same == 1
    )
    with folder(memory=False) as root:
        begin = time.perf_counter()
        fill(root, trials)
        size = (root / "studies.db").stat().st_size
        filled = time.perf_counter() - begin
        print(f"{trials} trials, {size / trials:.0f} bytes each, in {filled:.0f} s")
        rows = [timed(root) for _ in range(REPEATS)]
    for row in rows:
        results.row(what="million", trials=trials, bytes=size, **row)
        print({k: round(v, 3) for k, v in row.items()})
    opened, found = (
        sorted(float(row[k]) for row in rows) for k in ("open_s", "frontier_s")
    )
    for what, goal, seconds in (("open", 1, opened), ("frontier", 2, found)):
        middle = seconds[REPEATS // 2]
        results.figure(
            f"{what} of a store of {trials} trials",
            middle,
            f"<= {goal}",
            middle <= goal,
            "s",
            seconds[0],
            seconds[-1],
        )


def agree(root: Path) -> int:
    """1 if the members are those that all bodies give, else 0."""
    store = Trials.open(root, create=False)
    quick = studies.load_frontier("s", store, root)
    slow = frontier(studies.load_study("s", store, root))
    return int([t.number for t in quick.members] == [t.number for t in slow.members])
