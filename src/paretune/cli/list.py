"""`paretune list`: what there is."""

from __future__ import annotations

from typing import Annotated

from typer import Argument


def command(
    technique: Annotated[
        str | None, Argument(help="One technique: what it does and its parameters.")
    ] = None,
) -> None:
    """List techniques by area, runtimes, samplers, meters ...; or one technique."""
    from paretune import catalog

    if technique is not None:
        _technique(technique)
        return
    areas: dict[str, list[str]] = {}
    for name in catalog.TECHNIQUES:
        areas.setdefault(catalog.TECHNIQUES.area(name), []).append(name)
    for area, names in areas.items():
        _row(area, names)
    for what, members in (
        ("samplers", catalog.SAMPLERS),
        ("schedulers", catalog.SCHEDULERS),
        ("strategies", catalog.STRATEGIES),
        ("runtimes", catalog.RUNTIMES),
        ("meters", catalog.METERS),
        ("workers", catalog.WORKERS),
        ("tasks", catalog.TASKS),
    ):
        _row(what, list(members))


def _row(title: str, names: list[str]) -> None:
    print(f"{title:<13} {', '.join(sorted(names))}")


def _technique(name: str) -> None:
    from inspect import cleandoc

    from paretune import catalog

    found = catalog.TECHNIQUES[name]
    told, _, _ = cleandoc(found.__doc__ or "").partition("\nExample:")
    print(f"{name} ({found.area()}; handles {', '.join(found.formats())} models)\n")
    print(f"{told.strip()}\n")
    values = found().parameters()
    wide = max(map(len, values), default=0)
    print("Parameters, with their defaults:" if values else "It has no parameters.")
    for key, value in values.items():
        print(f"    {key:<{wide}}  {value!r} ({found.domains()[key]})")
    for title, facts in (
        ("Lowers", found.lowers),
        ("Needs a model that is", found.needs),
        ("Refuses a model that is already", found.refuses),
        ("Makes a model", found.gives),
    ):
        if facts:
            print(f"{title}: {', '.join(sorted(facts))}")
    print(f"Trains: {'yes' if found.trains else 'no'}")
    print(f"Source: {found.source}")
