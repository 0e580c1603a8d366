"""`paretune list`: what there is."""

from __future__ import annotations


def command() -> None:
    """List techniques by area, runtimes, samplers, strategies, meters and tasks."""
    from paretune import catalog

    areas: dict[str, list[str]] = {}
    for name in catalog.TECHNIQUES:
        areas.setdefault(catalog.TECHNIQUES.area(name), []).append(name)
    for area, names in areas.items():
        _row(area, names)
    for what, members in (
        ("automation", catalog.SAMPLERS),
        ("strategies", catalog.STRATEGIES),
        ("runtimes", catalog.RUNTIMES),
        ("meters", catalog.METERS),
        ("workers", catalog.WORKERS),
        ("tasks", catalog.TASKS),
    ):
        _row(what, list(members))


def _row(title: str, names: list[str]) -> None:
    print(f"{title:<13} {', '.join(sorted(names))}")
