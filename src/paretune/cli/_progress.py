"""What a person sees while a search runs: a live panel, or plain lines in a pipe."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from paretune.core.recipe import Recipe
from paretune.core.trial import INFEASIBLE, Trial


class Plain:
    """One line to stderr for whatever ends."""

    def __init__(self, seconds: float | None, trials: int | None) -> None:
        self.began = time.monotonic()
        self.seconds, self.trials = seconds, trials
        self.study = ""
        self.done = 0
        self.best = ""

    def event(self, kind: str, facts: Mapping[str, Any]) -> None:
        if kind == "study":
            self.study = facts["name"]
        if kind == "trial":
            self.best = facts["best"]
        if text := self.told(kind, facts):
            self.say(text)

    def told(self, kind: str, facts: Mapping[str, Any]) -> str:
        """The line for an event; empty for one that is not worth a line."""
        match kind:
            case "phase" | "warning":
                return str(facts["what"])
            case "study":
                samples = ", ".join(f"{n:,} {s}" for s, n in facts["samples"].items())
                return (
                    f"study {facts['name']} ({samples} samples; "
                    f"{facts['epochs']} epochs a training)"
                )
            case "trial":
                self.done += facts["trial"].number > 0
                return line(facts["trial"], facts["recipe"])
            case _:
                return ""

    def slot(self, number: int, what: str, share: float) -> None: ...

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:6.0f} s  {text}", file=sys.stderr)

    def close(self) -> None: ...


class Panel(Plain):
    """Lines that stay, above a status of what each worker does."""

    def __init__(self, seconds: float | None, trials: int | None) -> None:
        super().__init__(seconds, trials)
        from rich.console import Console
        from rich.live import Live

        self._slots: dict[int, tuple[str, float]] = {}
        console = Console(stderr=True)
        self._live = Live(
            get_renderable=self._render,
            console=console,
            refresh_per_second=4,
            transient=True,
        )
        self._live.start()

    def event(self, kind: str, facts: Mapping[str, Any]) -> None:
        super().event(kind, facts)
        if kind == "phase":
            self._slots.clear()

    def slot(self, number: int, what: str, share: float) -> None:
        self._slots[number] = (what, share)

    def say(self, text: str) -> None:
        self._live.console.print(
            f"[dim]{time.monotonic() - self.began:6.0f} s[/dim]  {escape(text)}",
            highlight=False,
        )

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 1))
        spent = time.monotonic() - self.began
        left = ""
        if self.seconds:
            left = f", {max(0.0, self.seconds - spent):.0f} s left"
        elif self.trials:
            left = f", {max(0, self.trials - self.done)} trials left"
        grid.add_row(Text(f"{self.done} trials, {spent:.0f} s{left}", style="bold"))
        if self.best:
            grid.add_row(Text(f"so far: {self.best}", style="green"))
        for number, (what, share) in sorted(self._slots.items()):
            filled = round(20 * min(1.0, share))
            bar = "━" * filled + "╌" * (20 - filled)
            grid.add_row(Text(f"worker {number}  {bar}  {what}"))
        return grid


def line(trial: Trial, recipe: Recipe) -> str:
    """One finished trial in a line."""
    from paretune.report.table import figure, short

    what = f"trial {trial.number:>3}  {short(trial.steps)}"
    if trial.state == INFEASIBLE:
        return f"{what}: does not fit ({trial.error}); not trained"
    if trial.halted:
        rung = trial.rungs[-1]
        told = ", ".join(f"{k} {v:.4g}" for k, v in rung["quality"].items())
        return f"{what}: {told} after {rung['epochs']:.2g} epochs; halted"
    if not trial.ok:
        return f"{what}: {trial.state}: {trial.error}"
    shown = [
        figure(m)
        for name, m in trial.measurements.items()
        if m.split or name in ("size", "latency_p50")
    ]
    return f"{what}: {', '.join(shown)}"


def escape(text: str) -> str:
    from rich.markup import escape as escaped

    return escaped(text)


@contextlib.contextmanager
def progress(seconds: float | None, trials: int | None) -> Iterator[Plain]:
    """A panel on a terminal, else plain lines."""
    shown = (Panel if sys.stderr.isatty() else Plain)(seconds, trials)
    try:
        yield shown
    finally:
        shown.close()
