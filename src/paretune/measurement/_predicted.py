"""What a structure's latency will be, from what others were measured to take.

A call takes a constant, and for each layer something for its multiply-accumulates, its
weights, the elements that it reads and writes, and for being there. These costs are
fitted to relative errors, none of them below zero, and drawn towards a prior: the
baseline's time, shared out. Structures that end in other number formats have costs of
their own, drawn towards those of all structures together, scaled.

The interval is not the fit's own opinion. Each structure is predicted from the others,
and how far that missed is how far the next one may be missed. Points of the very same
layers are one structure, left out together. After the jackknife+ of Barber et al. 2021
(arXiv:1905.02928), with a t interval over the same errors where that is wider, as it
is while there are few, and with the range of what the fits without one structure say.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

Layer = Sequence[float | str]  # kind, MACs, weights, elements in, elements out

LEVEL = 0.95
LEAST = 5  # different structures of a group, without which nothing is said
MOST = 40  # points of a group: the latest
REACH = 2.0  # nothing is said of a structure that is so many times beyond all of them
RIDGE = 0.03  # of the prior: 5 % of noise against costs that are off by a third
SHARES = {"macs": 0.6, "elements": 0.3, "weights": 0.05, "count": 0.05}  # of the prior
PRODUCTS = frozenset({"convolution", "depthwise", "linear", "rest"})


@dataclass(frozen=True)
class Point:
    """One structure that was measured.

    Attributes:
        layers: (kind, multiply-accumulates, weights, elements in, elements out) each.
        group: structures of one group end in the same number formats.
        seconds: of one call.
    """

    layers: tuple[Layer, ...]
    group: str
    seconds: float


@dataclass(frozen=True)
class Forecast:
    """A latency in seconds with its 95 % interval; (0, infinity) if nothing is known.

    Example:
        >>> Forecast().known
        False
    """

    value: float = math.nan
    low: float = 0.0
    high: float = math.inf

    @property
    def known(self) -> bool:
        return math.isfinite(self.high)


@dataclass(frozen=True)
class LatencyModel:
    """Learned from the points of one model's structures on one target.

    Args:
        points: oldest first.

    Example:
        >>> def point(macs):
        ...     layers = (("linear", macs, macs, 8, 8),)
        ...     return Point(layers, "float", 1e-6 + macs / 1e9)
        >>> model = LatencyModel([point(m) for m in (1e3, 2e3, 4e3, 8e3, 16e3)])
        >>> told = model.predict(point(6e3).layers, "float")
        >>> told.low < 7e-6 < told.high
        True
        >>> model.predict(point(6e3).layers, "int8").known
        False
    """

    points: Sequence[Point]
    _fitted: dict[str, _Group] = field(default_factory=dict, repr=False, compare=False)

    def predict(self, layers: Sequence[Layer], group: str) -> Forecast:
        """What a structure will be measured to take, the screening's noise included."""
        if group not in self._fitted:
            self._fitted[group] = _Group(_latest(self.points), group)
        fitted = self._fitted[group]
        alike = {p.layers for p in fitted.points if p.group == group}
        if len(alike) < LEAST:
            return Forecast()
        try:
            return fitted.predict(layers)
        except RuntimeError:  # no costs were found in as many steps as are usual
            return Forecast()


@dataclass(frozen=True)
class _Group:
    """The costs of one group, and how far they miss."""

    points: tuple[Point, ...]
    group: str

    @cached_property
    def columns(self) -> tuple[tuple[str, str], ...]:
        return tuple(sorted({k for p in self.points for k in _sums(p.layers)}))

    @cached_property
    def own(self) -> np.ndarray:
        """Indices of the group's points."""
        found = [i for i, p in enumerate(self.points) if p.group == self.group]
        return np.array(found)

    @cached_property
    def table(self) -> np.ndarray:
        """Features of all points, shape (points, columns); 1 is the largest of each."""
        made: np.ndarray = self._rows([p.layers for p in self.points]) / self.scale
        return made

    @cached_property
    def scale(self) -> np.ndarray:
        rows = self._rows([p.layers for p in self.points])
        return np.asarray(np.maximum(rows.max(0), 1.0))

    def _rows(self, some: Sequence[Sequence[Layer]]) -> np.ndarray:
        sums = [_sums(layers) for layers in some]
        return np.array([[s.get(c, 0.0) for c in self.columns] for s in sums])

    @cached_property
    def seconds(self) -> np.ndarray:
        return np.array([p.seconds for p in self.points])

    @cached_property
    def without(self) -> np.ndarray:
        """Costs fitted without the structure of each point, shape (own, columns)."""
        made: dict[tuple[Layer, ...], np.ndarray] = {}
        for i in self.own:
            layers = self.points[i].layers
            if layers not in made:
                others = [n for n, p in enumerate(self.points) if p.layers != layers]
                made[layers] = self._fit(np.array(others))
        return np.array([made[self.points[i].layers] for i in self.own])

    @cached_property
    def misses(self) -> np.ndarray:
        """log(measured / predicted from other structures) of the group's points."""
        predicted = (self.table[self.own] * self.without).sum(1)
        return np.asarray(np.log(self.seconds[self.own] / predicted))

    @cached_property
    def costs(self) -> np.ndarray:
        return self._fit(np.arange(len(self.points)))

    def _fit(self, chosen: np.ndarray) -> np.ndarray:
        """Costs of the group from these points."""
        table, seconds = self.table[chosen], self.seconds[chosen]
        names = np.array([self.points[i].group for i in chosen])
        mine = names == self.group
        shape = _prior(self.columns, table, seconds)
        factor = np.ones(len(chosen))
        for _ in range(2 if not mine.all() else 1):
            for name in set(names):
                some = names == name
                ratio = np.log(seconds[some] / (table[some] @ shape))
                factor[some] = math.exp(float(ratio.mean()))
            shape = _costs(table, seconds / factor, shape)
        ratio = np.log(seconds[mine] / (table[mine] @ shape))
        shape = shape * math.exp(float(ratio.mean()))
        return _costs(table[mine], seconds[mine], shape)

    def predict(self, layers: Sequence[Layer]) -> Forecast:
        sums = _sums(layers)
        if not set(sums) <= set(self.columns):
            return Forecast()  # layers of a kind that was never measured
        reach = [_macs(self.points[i].layers) for i in self.own]
        if not min(reach) / REACH <= _macs(layers) <= max(reach) * REACH:
            return Forecast()
        row = self._rows([layers])[0] / self.scale
        value, others = float(row @ self.costs), np.log(self.without @ row)
        half = self._half()
        low, high = float(others.min()) - half, float(others.max()) + half
        return Forecast(value, min(value, math.exp(low)), max(value, math.exp(high)))

    def _half(self) -> float:
        """Half the width of the interval, of the log."""
        from scipy.special import stdtrit

        sizes = np.sort(np.abs(self.misses))
        count = len({self.points[i].layers for i in self.own})
        share = min(1.0, math.ceil(LEVEL * (count + 1)) / count)
        usual = float(stdtrit(count - 1, (1 + LEVEL) / 2))
        usual *= math.sqrt((1 + 1 / count) * float(np.mean(sizes**2)))
        return max(usual, float(sizes[math.ceil(share * len(sizes)) - 1]))


def _latest(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points of the last structures of each group, in their order.

    Of a structure that was measured again and again the last one counts: others of
    the same layers would push out all that it could be told from.
    """
    last = {(p.group, p.layers): i for i, p in enumerate(points)}
    kept = sorted(last.values())
    left = Counter(points[i].group for i in kept)
    found = []
    for i in kept:
        if left[points[i].group] <= MOST:
            found.append(points[i])
        left[points[i].group] -= 1
    return tuple(found)


def _sums(layers: Sequence[Layer]) -> dict[tuple[str, str], float]:
    """What the costs are multiplied by: of each kind, and one for the call itself."""
    found = {("call", "count"): 1.0}
    for kind, macs, weights, given, made in layers:
        sizes = {"elements": float(given) + float(made), "count": 1.0}
        if kind in PRODUCTS:
            sizes |= {"macs": float(macs), "weights": float(weights)}
        where = str(kind) if kind in PRODUCTS else "others"
        for name, size in sizes.items():
            found[where, name] = found.get((where, name), 0.0) + size
    return found


def _macs(layers: Sequence[Layer]) -> float:
    return sum(float(layer[1]) for layer in layers)


def _prior(
    columns: Sequence[tuple[str, str]], table: np.ndarray, seconds: np.ndarray
) -> np.ndarray:
    """The time of the largest structure, shared out over what it is made of."""
    largest = int(table.sum(1).argmax())
    alike = {n: sum(name == n for _, name in columns) for n in SHARES}
    shares = np.array([SHARES[name] / alike[name] for _, name in columns])
    return np.asarray(seconds[largest] * shares / (table[largest] @ shares))


def _costs(table: np.ndarray, seconds: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Costs of at least 0 with the least relative errors, drawn towards the prior."""
    from scipy.optimize import nnls

    unit = float(prior.sum())
    pull = math.sqrt(RIDGE) * np.eye(len(prior)) / unit
    rows = np.vstack([table / seconds[:, None], pull])
    found, _ = nnls(rows * unit, np.append(np.ones(len(table)), pull @ prior))
    return np.asarray(np.maximum(found * unit, 1e-9 * prior))
