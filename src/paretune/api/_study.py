"""What a study in its store gives."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from paretune import studies
from paretune.api._reopen import reopened
from paretune.core.errors import StoreError, nearest
from paretune.core.measurement import Measurement
from paretune.core.study import Study
from paretune.core.task import Task
from paretune.core.trial import Trial
from paretune.frontier import Frontier, frontier
from paretune.options import Progress, unheard
from paretune.report import bundle as bundles
from paretune.report import page, verdict
from paretune.store.trials import Trials


def load(study: str, store: Path | None = None) -> Study:
    """A study as its store has it now.

    Raises:
        StoreError: there is none of that name; names the nearest.
    """
    root = (store or studies.default_store()).resolve()
    return studies.load_study(study, Trials.open(root, create=False), root)


def load_frontier(study: str, store: Path | None = None) -> Frontier:
    """The frontier alone of a study, however many trials it has.

    The members are those of `frontier(load(study))`. Only they and the baseline are
    read, where the store's own numbers tell who they are, and what is told of all
    trials, such as the hypervolume, is told of these.

    Raises:
        StoreError: there is none of that name; names the nearest.
    """
    root = (store or studies.default_store()).resolve()
    return studies.load_frontier(study, Trials.open(root, create=False), root)


def certified(study: Study) -> bool:
    """Whether the test split has been read for every member and the baseline."""
    numbers = {0, *(t.number for t in frontier(study).members)}
    return numbers <= study.certified.keys()


def certify(
    study: Study,
    task: Task | str | None = None,
    store: Path | None = None,
    on_progress: Progress = unheard,
) -> Study:
    """Reads the test split for the frontier's members and the baseline; counted.

    Args:
        study: with a frontier.
        task: only for a task that has no reference.
    """
    chosen = {t.number: t for t in frontier(study).members}
    if study.baseline:
        chosen[0] = study.baseline
    with reopened(study, task, store, on_progress, "certify it") as again:
        reading = again.trials.read_test(study.name)  # counted even if it is cut short
        artifacts = [t.artifact for t in chosen.values()]
        told = again.worker.do("certify", {"artifacts": artifacts})
    taken = {
        number: {k: Measurement.from_json(m) for k, m in figures.items()}
        for number, figures in zip(chosen, told["measurements"], strict=True)
    }
    again.trials.certify(study.name, taken, reading)
    return studies.load_study(study.name, again.trials, again.root)


def pick(study: Study, which: str = "best") -> Trial:
    """A member of the frontier.

    Args:
        which: "best" (the one that the reports name; the nearest to the budget if none
            meets it), "smallest", "fastest", "quality", "knee", or a trial's number.

    Raises:
        StoreError: there is no such member.
    """
    found = frontier(study)
    if not found.members:
        raise StoreError(
            "frontier-empty", f"study {study.name!r} has no frontier yet; run it first."
        )
    if which.isdecimal():
        for trial in study.trials:
            if trial.number == int(which) and trial.ok:
                return trial
        for trial in study.trials:
            if trial.number == int(which):
                why = f": {trial.error}" if trial.error else ""
                raise StoreError(
                    "pick", f"trial {which} has no file; it is {trial.state}{why}."
                )
        known = ", ".join(str(t.number) for t in found.members)
        raise StoreError(
            "pick", f"no finished trial {which}; the frontier has {known}."
        )
    members = found.within() or found.members
    first = study.objectives[0]
    sign = -1 if first.better == "higher" else 1
    ways: dict[str, Callable[[], Trial | None]] = {
        "best": lambda: verdict.pick(study, found) or verdict.closest(study)[0],
        "knee": lambda: found.knee(members),
        "smallest": lambda: min(members, key=lambda t: t.values["size"]),
        "fastest": lambda: min(members, key=lambda t: t.values["latency_p50"]),
        "quality": lambda: min(members, key=lambda t: sign * t.values[first.metric]),
    }
    if which not in ways:
        raise StoreError("pick", f"{which!r} picks nothing; {nearest(which, ways)}")
    return ways[which]() or members[0]


def export(study: Study, folder: Path | str, which: str = "best") -> list[Path]:
    """A deploy bundle of a member in `folder`; the files that it has."""
    return bundles.bundle(study, pick(study, which), Path(folder))


def write_report(study: Study, path: Path | str) -> Path:
    """One self-contained HTML page at `path`."""
    text = io.StringIO()
    page.page(study, text)
    with writing(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text.getvalue(), encoding="utf-8")
    return Path(path)


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turns an error of the file system into a sentence.

    Raises:
        StoreError: `path` can't be written to.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            "output", f"can't write {path}: {error.strerror}; name another place."
        ) from error
