"""What a user may call a layer, the same in every technique."""

import pytest
from torch import nn

from paretune.core.errors import UnsupportedError
from paretune.infrastructure.formats._patterns import matching

LAYERS = {
    "layers.0.mlp": nn.Linear(2, 2),
    "layers.1.mlp": nn.Linear(2, 2),
    "embed": nn.Embedding(3, 2),
    "head": nn.Linear(2, 2),
}


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ("", set()),
        ("head", {"head"}),
        ("layers.0", {"layers.0.mlp"}),
        ("layers", {"layers.0.mlp", "layers.1.mlp"}),
        ("layers.*.mlp", {"layers.0.mlp", "layers.1.mlp"}),
        ("Embedding, head", {"embed", "head"}),
        ("Linear", {"layers.0.mlp", "layers.1.mlp", "head"}),
        ("Conv2d", set()),
    ],
)
def test_a_name_a_part_of_it_a_wildcard_or_a_type(patterns, names):
    assert matching(LAYERS, patterns) == names


def test_what_matches_nothing_is_said_with_what_is_near():
    with pytest.raises(UnsupportedError, match="'haed'; did you mean 'head'"):
        matching(LAYERS, "embed, haed")
