"""Scores of 0 and 1 read as the tuple that they came as."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paretune.core._bits import Bits
from paretune.core.measurement import Measurement

SCORES = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=40).map(tuple)


@given(SCORES, st.slices(40))
def test_bits_read_as_a_tuple(scores, part):
    bits = Bits(np.array(scores))
    assert bits == scores
    assert scores == bits
    assert hash(bits) == hash(scores)
    assert repr(bits) == repr(scores)
    assert tuple(bits) == scores
    assert bits[part] == scores[part]
    assert bits[-1] == scores[-1]
    assert np.asarray(bits).tolist() == list(scores)
    assert bits != (*scores, 1.0)
    assert bits != Bits(np.array((*scores, 0.0)))


@given(SCORES)
def test_a_measurement_comes_back_from_its_text(scores):
    m = Measurement("accuracy", "1", "higher", scores, "samples", split="test")
    again = Measurement.from_json(json.loads(json.dumps(m.to_json())))
    assert again == m
    assert again.values == scores
    assert again.binary
    assert again.value == np.mean(scores)
    assert again.right.tolist() == np.packbits(np.array(scores) > 0).tolist()


def test_other_scores_stay_as_they_are():
    m = Measurement("f1", "1", "higher", (0.0, 0.5), "samples")
    assert m.values == (0.0, 0.5)
    assert not m.binary
    assert m.right.tolist() == [64]
