"""Recipes: spaces, binding, digests, prefixes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune import catalog
from paretune.core.errors import RecipeError
from paretune.core.recipe import Recipe
from paretune.core.space import Choice, Integer, Real

NAMES = sorted(catalog.TECHNIQUES)


def free(names):
    members = (catalog.TECHNIQUES[n] for n in names)
    return Recipe(tuple(m.build(dict(m.domains())) for m in members))


@given(st.lists(st.sampled_from(NAMES), max_size=4), st.integers(0, 2**32 - 1))
def test_a_bound_recipe_survives_json_and_has_no_space(names, seed):
    recipe = free(names)
    rng = np.random.default_rng(seed)
    bound = recipe.bind({k: d.sample(rng) for k, d in recipe.space.items()})
    assert not bound.space
    again = catalog.recipe(bound.to_json())
    assert again == bound and again.digest == bound.digest


@given(st.lists(st.sampled_from(NAMES), max_size=4))
def test_prefixes_grow_by_a_step_and_have_digests_of_their_own(names):
    recipe = catalog.recipe([{"technique": n} for n in names])
    prefixes = recipe.prefixes()
    assert [len(p.steps) for p in prefixes] == list(range(len(names) + 1))
    assert len({p.digest for p in prefixes}) == len(prefixes)
    # A step that trains may leave a stand-in of itself that doesn't.
    assert all(
        s.to_json().get("epochs", 0) == 0 for s in recipe.structure().steps if s.trains
    )


def test_the_order_is_proved_without_a_model():
    with pytest.raises(RecipeError, match="put it earlier"):
        steps = ("post_training_quantization", "structured_pruning")
        catalog.recipe([{"technique": n} for n in steps]).check()


def test_a_new_version_of_a_technique_has_another_digest(monkeypatch):
    recipe = catalog.recipe([{"technique": "fine_tuning"}])
    before = recipe.digest
    monkeypatch.setattr(catalog.TECHNIQUES["fine_tuning"], "version", 99)
    assert recipe.digest != before


@given(
    st.sampled_from([Real(0.1, 0.9), Real(1e-4, 1.0, log=True), Integer(1, 64)]),
    st.integers(0, 2**32 - 1),
)
def test_samples_lie_in_their_domain(domain, seed):
    assert domain.sample(np.random.default_rng(seed)) in domain


def test_true_is_no_number():
    assert True not in Integer(0, 3) and True not in Real(0, 3)
    assert 1 not in Choice((True, "a"))
