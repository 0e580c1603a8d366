"""Times, changes and names as an explanation writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paretune.core.study import Study
from paretune.report import _words as w
from paretune.report._figures import is_share

SEEN = 0.01  # of a call: layers that take or lose less are not named


def seconds(value: float | None, like: float | None = None) -> str:
    """A time for people.

    Args:
        value: in s; None for a dash.
        like: the unit is that of this one, so that a column has one unit.

    Example:
        >>> seconds(0.0001116), seconds(2.2e-6, 0.0001), seconds(0.0123)
        ('112 µs', '2.2 µs', '12.3 ms')
    """
    if value is None:
        return "–"
    size, unit = w.scale(like if like is not None else value, "s")
    scaled = value / size
    if like is not None:
        return f"{w.fixed(scaled, 1)} {unit}"
    return f"{w.digits(scaled)} {unit}"


def points(study: Study, metric: str, value: float) -> str:
    """A quality figure: "92.7 %"."""
    return w.percent(value, 1) if is_share(study, metric) else w.digits(value)


def signed(study: Study, metric: str, value: float) -> str:
    """A change of quality with its sign: "−0.40 pt"."""
    text = w.fixed(100 * value, 2, "+") if is_share(study, metric) else f"{value:+.3g}"
    return _sign(text) + (" pt" if is_share(study, metric) else "")


def amount(study: Study, metric: str, value: float) -> str:
    """The size of a change of quality: "0.40 pt"."""
    return signed(study, metric, value).lstrip("+−")


def spread(study: Study, metric: str, change: Mapping[str, Any]) -> str:
    """The 95 % interval of a change: "−0.8 to +0.1 pt"."""
    share = is_share(study, metric)
    ends = (change["low"], change["high"])
    told = (w.fixed(100 * v, 2, "+") if share else f"{v:+.3g}" for v in ends)
    return _sign(" to ".join(told)) + (" pt" if share else "")


def step_name(technique: str) -> str:
    """A technique as a word of a sentence.

    Example:
        >>> step_name("post_training_quantization"), step_name("fine_tuning")
        ('quantization', 'fine tuning')
    """
    short = technique.rpartition("_")[2] if len(technique) > 12 else technique
    return w.printable(short).replace("_", " ")


def join(words: Sequence[str]) -> str:
    """Words with commas and a last "and".

    Example:
        >>> join(["a", "b", "c"])
        'a, b and c'
    """
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def capital(text: str) -> str:
    """A sentence with a capital, unless it begins with the name of a layer.

    Example:
        >>> capital("the file is gone."), capital("features.0 is slow.")
        ('The file is gone.', 'features.0 is slow.')
    """
    first = text.split(" ")[0]
    plain_word = first.isalpha() and first.islower()
    return text[:1].upper() + text[1:] if plain_word else text


def _sign(text: str) -> str:
    return text.replace("-", "−")
