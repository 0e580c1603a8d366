"""Gathering real samples from batches of several shapes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paretune.measurement._samples import by_shape, count, rows


def test_shapes_are_kept_apart_and_order_is_kept():
    batches = [
        {"x": np.arange(6).reshape(2, 3)},
        {"x": np.arange(4).reshape(1, 4)},
        {"x": np.arange(6, 9).reshape(1, 3)},
    ]
    narrow, wide = by_shape(batches, 100)
    assert (narrow["x"].ravel() == np.arange(9)).all()
    assert wide["x"].shape == (1, 4)


def test_reading_stops_when_there_is_enough():
    def endless():
        while True:
            yield {"x": np.zeros((4, 2))}

    (found,) = by_shape(endless(), 10)
    assert count(found) == 12


@given(st.integers(1, 20), st.integers(0, 50), st.integers(1, 50))
def test_rows_begin_again_at_the_end(samples, start, size):
    taken = rows({"x": np.arange(samples)}, start, size)["x"]
    assert (taken == (start + np.arange(size)) % samples).all()
