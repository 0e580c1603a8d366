"""All trials of a study as columns of numbers, and who among them beats whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from paretune.core.statistics import Z
from paretune.core.study import Study
from paretune.frontier import _records
from paretune.frontier._columns import EXACT, SHARE, TIMES, Axis, Columns, axes
from paretune.frontier._compare import INFERIOR
from paretune.frontier._records import distinct_rows, meeting
from paretune.frontier._staircase import best_below, least_above
from paretune.frontier._verdicts import _allowed, verdicts

Right = Callable[[str, Sequence[int]], Sequence[bytes]]
Pairs = tuple[np.ndarray, np.ndarray]  # rows that beat, and the row that each beats

SLACK = 1e-9  # for what rounding takes
THINNED = 0.9  # a round that leaves more than this share is the last
TOGETHER = 32  # rows that are compared with all that are near them at once
KINDS = {
    _records.EXACT: EXACT,
    _records.TIMES: TIMES,
    _records.SHARE: SHARE,
}


@dataclass
class Field:
    """Trials by rows.

    Attributes:
        study: that they are of, with its baseline alone.
        on: its axes: one or two costs, the first without error; then a quality.
        numbers: of the trials.
        meets: whether each meets the budget.
        kinds: as `Columns` has them, one an axis.
        figures: likewise, shape (axes, trials, 3).
        costs: lower is better, shape (costs, trials); of times the mean of log ratios.
        goods: in how many samples each is good.
        right: gives which samples trials have right.
    """

    study: Study
    on: tuple[Axis, ...]
    numbers: np.ndarray
    meets: np.ndarray
    kinds: tuple[int, ...]
    figures: np.ndarray
    costs: np.ndarray
    goods: np.ndarray
    right: Right
    _bits: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def of(
        cls, study: Study, metrics: Sequence[str], records: np.ndarray, right: Right
    ) -> Field | None:
        """None where the records can't tell; see `selected`."""
        base = study.baseline
        if base is None or not records.size:
            return None
        on = axes(study, (base,))
        places = [metrics.index(axis.metric) for axis in on]
        kinds = records["kind"][:, places]
        first = kinds[0].tolist()
        if not (kinds == kinds[0]).all() or not _told(on, first):
            return None
        count, split = on[-1].samples or (0, None)
        samples = records["samples"][:, places[-1]]
        if split != "validation" or not (samples == count).all():
            return None
        meets = meeting(study, metrics, records)
        rows = distinct_rows(records, meets)
        records, meets = records[rows], meets[rows]
        figures = np.zeros((len(on), len(records), 3))
        for k, (place, kind) in enumerate(zip(places, first, strict=True)):
            if kind == _records.TIMES:
                for i, name in enumerate(("mean", "variance", "samples")):
                    figures[k, :, i] = records[name][:, place]
            else:
                figures[k, :, 0] = records["value"][:, place]
        figures[-1, :, 0] = np.rint(figures[-1, :, 0] * count)
        costs = np.stack([-a.up * f[:, 0] for a, f in zip(on, figures, strict=True)])
        goods = figures[-1, :, 0] if on[-1].up > 0 else count - figures[-1, :, 0]
        numbers = records["number"]
        mapped = tuple(KINDS[kind] for kind in first)
        return cls(study, on, numbers, meets, mapped, figures, costs[:-1], goods, right)

    @property
    def samples(self) -> int:
        """How many there are."""
        return self.on[-1].samples[0] if self.on[-1].samples else 0

    @property
    def allowance(self) -> float:
        """Samples by which a trial may be worse than one that it beats."""
        return INFERIOR * abs(self.on[-1].whole) * self.samples

    def left(self) -> np.ndarray:
        """All rows that may be members, and few others.

        Whoever is left out is beaten by a row that is no worse in plain figures.
        """
        rows = np.arange(len(self.numbers))
        while True:
            kept = rows[~self._overshadowed(rows)]
            if len(kept) > THINNED * len(rows):
                return self._outdone(kept)
            rows = kept

    def _overshadowed(self, rows: np.ndarray) -> np.ndarray:
        """Which of these rows are left out by numbers alone, shape (rows,).

        A row that costs less and is good in that many samples more is certainly not
        inferior, however the samples in which both differ are spread.
        """
        costs, goods, meets = self.costs[:, rows], self.goods[rows], self.meets[rows]
        heights = goods - self._ahead(goods)
        found = best_below(costs[:, meets], heights[meets], costs) >= goods
        free = ~meets
        over = best_below(costs, heights, costs[:, free]) >= goods[free]
        found[free] |= over
        return np.asarray(found)

    def _ahead(self, goods: np.ndarray) -> np.ndarray:
        """How many samples ahead such a row must be so as to be no worse for certain.

        With d more, at most m = 2 (samples - goods) + d are answered differently, and
        d - Z sqrt(m) > -allowance is asked for: a quadratic in d + allowance.
        """
        most = 2 * (self.samples - goods) - self.allowance
        inner = np.maximum(Z**4 + 4 * Z**2 * most, 0.0)
        root = np.maximum((Z**2 + np.sqrt(inner)) / 2, 0.0)
        ahead = np.floor(root - self.allowance + SLACK) + 1
        return np.asarray(np.maximum(ahead, 0.0))

    def _outdone(self, rows: np.ndarray) -> np.ndarray:
        """Those of the rows that no other beats that is no worse in plain figures."""
        import moocore

        columns = self.columns(rows)
        plain = np.vstack((self.costs[:, rows], -self.goods[rows]))
        first = moocore.is_nondominated(plain.T, keep_weakly=True)
        alive = np.ones(len(rows), dtype=bool)
        for champion in np.flatnonzero(first).tolist():
            mine = plain[:, champion, None]
            slack = SLACK * np.maximum(np.abs(mine), 1.0)
            others = np.flatnonzero(alive)
            apart = plain[:, others] - mine
            worse = (apart >= 0).all(axis=0) & (apart > slack).any(axis=0)
            others = others[worse]
            if others.size:
                pairs = np.full(len(others), champion), others
                told = verdicts(self.study, self.on, columns, columns, pairs)
                alive[others[told > 0]] = False
        return rows[alive]

    def beaten(self, rows: np.ndarray) -> Pairs:
        """All pairs of a row of the field that beats one of these, and that one.

        Args:
            rows: one or more.
        """
        lows, highs = self._bounds()
        lows = np.vstack((lows, -self.goods))
        highs = np.vstack((highs, self._behind() - self.goods))
        reach = least_above(highs[:-1, rows], -highs[-1, rows], lows[:-1])
        near = np.flatnonzero(self.goods >= reach)
        scale = np.maximum(np.ptp(highs[:, rows], axis=1), SLACK)
        found = self._near(rows, near, (lows, highs), scale)
        pairs = [(rows[:0], rows[:0]), *found]
        one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
        beat = self.beat(one, other)
        return one[beat], other[beat]

    def _near(
        self,
        rows: np.ndarray,
        near: np.ndarray,
        ends: tuple[np.ndarray, np.ndarray],
        scale: np.ndarray,
    ) -> Iterator[Pairs]:
        """Pairs of one of `near` that may beat one of `rows`, and that one.

        The rows are split in two along their widest axis again and again, and who can
        beat none of a part is left behind there.

        Args:
            rows: that may be beaten.
            near: that may beat them.
            ends: two of shape (axes, trials): what must not be above the other's high
                end, and those ends.
            scale: how wide each axis is in all.
        """
        lows, highs = ends
        near = near[(lows[:, near] <= highs[:, rows].max(axis=1)[:, None]).all(axis=0)]
        if not near.size:
            return
        if len(rows) > TOGETHER:
            inner = highs[:, rows]
            wide = np.ptp(inner, axis=1) / scale
            order = np.argsort(inner[wide.argmax()])
            half = len(rows) // 2
            yield from self._near(rows[order[:half]], near, ends, scale)
            yield from self._near(rows[order[half:]], near, ends, scale)
            return
        fine = self.meets[near][:, None] | ~self.meets[rows]
        for low, high in zip(lows, highs, strict=True):
            fine &= low[near][:, None] <= high[rows]
        fine &= near[:, None] != rows
        one, other = np.nonzero(fine)
        yield near[one], rows[other]

    def beat(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Whether the first row of each pair beats the second, shape (pairs,)."""
        rows, places = np.unique(np.concatenate((one, other)), return_inverse=True)
        columns = self.columns(rows)
        first, second = places[: len(one)], places[len(one) :]
        # Few may at all, and that is told sooner than which times can be told apart.
        found = _allowed(self.on, columns, columns, (first, second))
        pairs = first[found], second[found]
        found[found] = verdicts(self.study, self.on, columns, columns, pairs) > 0
        return found

    def _behind(self) -> int:
        """The most samples by which a row may be behind one that it beats."""
        short = np.arange(int(self.allowance) + 2)
        spread = np.sqrt(np.maximum(short - short**2 / max(self.samples, 1), 0.0))
        return int(np.flatnonzero(short + Z * spread < self.allowance + SLACK)[-1])

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Costs as low and as high as is told from other rows' at most.

        A row isn't certainly dearer than another if its low end is no higher than the
        other's high end; where it is, it is. Welch's degrees of freedom are never fewer
        than those of either time.
        """
        from scipy.special import stdtrit

        lows, highs = self.costs.copy(), self.costs.copy()
        for k, kind in enumerate(self.kinds[:-1]):
            if kind == TIMES:
                _, variance, degrees = self.figures[k].T
                spread = variance > 0
                least = degrees[spread].min() if spread.any() else 1.0
                half = float(stdtrit(least, 0.975)) * np.sqrt(variance) + SLACK
                lows[k] -= half
                highs[k] += np.maximum(half, self.on[k].noise + SLACK)
        return lows, highs

    def columns(self, rows: np.ndarray) -> Columns:
        """Rows as `verdicts` takes them; their trials are not among them."""
        self._fetch(rows)
        bits = b"".join([self._bits[row] for row in rows.tolist()])
        width = (self.samples + 7) // 8
        right = np.frombuffer(bits, np.uint8).reshape(len(rows), width)
        none = np.zeros((len(rows), 0), dtype=np.uint8)
        kinds = np.array(self.kinds, dtype=np.int8)[:, None]
        return Columns(
            (),
            self.meets[rows],
            np.repeat(kinds, len(rows), axis=1),
            self.figures[:, rows],
            (*[none] * len(self.costs), right),
        )

    def _fetch(self, rows: np.ndarray) -> None:
        new = [row for row in rows.tolist() if row not in self._bits]
        found = self.right(self.on[-1].metric, self.numbers[new].tolist())
        self._bits.update(zip(new, found, strict=True))


def _told(on: Sequence[Axis], kinds: Sequence[int]) -> bool:
    """Whether these axes, with figures of these kinds, are told by records."""
    qualities = [axis.quality for axis in on]
    if qualities not in ([False, True], [False, False, True]):
        return False
    if kinds[-1] != _records.SHARE or on[-1].samples is None:
        return False
    footprints = set(kinds[:-1])
    return _records.EXACT in footprints <= {_records.EXACT, _records.TIMES}
