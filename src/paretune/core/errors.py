"""Every error that paretune raises on purpose."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ParetuneError(Exception):
    """Base of all deliberate errors: anything else that escapes is a bug.

    Args:
        code: a short stable name of the fault, such as "data-leak".
        message: one sentence that says what was got, what is allowed, and the remedy.
        details: lines to show before it, such as the traceback of the user's own code.

    Example:
        >>> print(TaskError("data-length", "4 inputs but 3 targets."))
        [data-length] 4 inputs but 3 targets.
    """

    def __init__(self, code: str, message: str, details: str = "") -> None:
        super().__init__(f"[{code}] {message}")
        self.code = code
        self.message = message
        self.details = details


class RecipeError(ParetuneError):
    """The recipe can't run as written; raised before any work starts."""


class BudgetError(ParetuneError):
    """The `--require` text names something unknown, or nothing can meet it."""


class TaskError(ParetuneError):
    """The user's task (model, data, loss or metric) is not usable as it stands."""


class UnsupportedError(ParetuneError):
    """A technique, format or runtime can't handle the model that it was given."""


class UnavailableError(ParetuneError):
    """A package or device that the request needs isn't here; names the remedy."""


class MeasurementError(ParetuneError):
    """A measurement could not be taken, or would not mean what it says."""


class ParityError(ParetuneError):
    """An artifact disagrees with the model that it was made from."""


class StoreError(ParetuneError):
    """The store is missing, read-only, full, newer, held by another, or tampered."""


MANY = 40  # words that a sentence can list


def nearest(word: str, known: Iterable[str]) -> str:
    """The known words that `word` may have meant, as the end of an error message.

    Example:
        >>> nearest("latncy_p50", ["latency_p50", "size"])
        "did you mean 'latency_p50'?"
        >>> nearest("zzz", ["latency_p50", "size"])
        'known: latency_p50, size.'
        >>> nearest("zzz", map(str, range(100)))
        'known are 100, such as 0, 1, 10, 11, 12, 13.'
    """
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    if len(known) > MANY:
        return f"known are {len(known)}, such as {', '.join(known[:6])}."
    return f"known: {', '.join(known)}."
