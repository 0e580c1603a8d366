"""Collects the commands and turns errors into one sentence and an exit code.

0: done. 1: an error, said in one sentence. 2: the search ran and nothing meets the
budget. 130: interrupted, with all that was finished kept.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

import typer

from paretune.core.errors import ParetuneError, nearest

ORDER = (
    "demo",
    "optimize",
    "tune",
    "plan",
    "frontier",
    "export",
    "report",
    "why",
    "attribute",
    "apply",
    "measure",
    "compare",
    "labels",
    "list",
    "doctor",
)
OFFERED = sorted(
    (m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)])),
    key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER),
)


def build() -> typer.Typer:
    """The application, with one command a file of this folder."""
    app = typer.Typer(
        name="paretune",
        help="Makes deep-learning models smaller, faster and better: "
        "a measured Pareto frontier of deployable models.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name in OFFERED:
        if name != "main" and not name.startswith("_"):
            module = importlib.import_module(f"paretune.cli.{name}")
            app.command(name)(module.command)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Entry of the `paretune` command."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    given = [a for a in given if a != "--debug"]
    try:
        code = typer.main.get_command(build()).main(
            given, prog_name="paretune", standalone_mode=False
        )
        sys.exit(code if isinstance(code, int) else 0)
    except ParetuneError as error:
        if debug:
            raise
        if error.details:
            print(error.details.rstrip(), file=sys.stderr)
        print(f"paretune: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not hasattr(error, "format_message"):  # not the parser's: a bug
            raise
        text = error.format_message() or type(error).__name__
        words = [a for a in given if not a.startswith("-")]
        if text.startswith("No such command") and words:
            known = [n for n in OFFERED if n != "main" and not n.startswith("_")]
            text = f"there is no command {words[0]!r}; {nearest(words[0], known)}"
        print(f"paretune: [usage] {text}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
