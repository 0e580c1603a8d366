"""Runs a search for a person: progress while it lasts, the frontier at its end."""

from __future__ import annotations

import json
import sys
from typing import Any

from paretune.core.study import Study

INTERRUPTED = 130


def run(task: str, as_json: bool = False, silent: bool = False, **options: Any) -> int:
    """Searches, shows the frontier, and gives the exit code.

    Args:
        task: as the user named it.
        as_json: print the frontier as JSON and nothing else to stdout.
        silent: show no frontier: the caller has more to do first.
        options: fields of `api.Options`.
    """
    study = searched(task, **options)
    if study is None:
        return INTERRUPTED
    if as_json:
        show_json(study)
    elif not silent:
        show(study)
    return exit_code(study)


def searched(task: str, **options: Any) -> Study | None:
    """The study after a search with its progress shown; None if it was interrupted.

    Args:
        task: as the user named it.
        options: fields of `api.Options`.
    """
    from paretune import api
    from paretune.cli._progress import progress

    name = options.get("study")
    with progress(options.get("seconds"), options.get("trials")) as shown:
        try:
            return api.optimize(
                task, on_event=shown.event, on_progress=shown.slot, **options
            )
        except KeyboardInterrupt:
            name = shown.study or name
            again = f" with --study {name}" if name else ""
            shown.close()
            print(
                f"\nStopped; everything that was finished is kept. {shown.best} To go "
                f"on, repeat the command{again}; to look: "
                f"paretune frontier {name or 'STUDY'}",
                file=sys.stderr,
            )
            return None


def show(study: Study) -> None:
    """The frontier as a table, or as plain lines where stdout is no terminal."""
    from paretune.report import table

    if not sys.stdout.isatty():
        print(table.plain(study))
        return
    from rich.console import Console

    console = Console()
    console.print(table.table(study, console.width))


def show_json(study: Study) -> None:
    from paretune.report.records import records

    print(json.dumps(records(study), indent=2))


def exit_code(study: Study) -> int:
    """2 where the search ran and no candidate meets the budget."""
    from paretune.report.verdict import pick

    if not study.budget.constraints:
        return 0
    return 0 if pick(study) else 2
