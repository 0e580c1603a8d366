"""Recipes from files and from JSON: what is wrong is said, whatever it is."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune import catalog
from paretune.core.errors import RecipeError
from paretune.core.recipe import Recipe
from paretune.core.space import Choice, Integer, Real

PRUNE = "structured_pruning"


@st.composite
def parameters(draw, name):
    """Values, and domains, that a technique's parameters may have."""
    found = {}
    for key, domain in catalog.TECHNIQUES[name].domains().items():
        match domain:
            case Real():
                value = st.floats(domain.low, domain.high)
                free = st.tuples(value, value).map(lambda b: {"real": sorted(b)})
            case Integer():
                value = st.integers(domain.low, domain.high)
                free = st.tuples(value, value).map(lambda b: {"integer": sorted(b)})
            case Choice():
                value = st.sampled_from(domain.options)
                free = st.lists(value, min_size=1).map(lambda o: {"choice": o})
            case _:
                value = free = st.text(max_size=5)
        if draw(st.booleans()):
            found[key] = draw(value | free)
    return {"technique": name, **found}


steps = st.sampled_from(sorted(catalog.TECHNIQUES)).flatmap(parameters)


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=3))
def test_a_recipe_comes_back_as_it_was_written(tmp_path_factory, given_steps):
    recipe = catalog.recipe(given_steps)
    file = tmp_path_factory.getbasetemp() / "recipe.yaml"
    file.write_text(catalog.write_recipe(recipe.to_json()), encoding="utf-8")
    again = catalog.read_recipe(file)
    assert again == recipe
    assert again.digest == recipe.digest


def test_a_list_and_json_are_read_too(tmp_path):
    file = tmp_path / "recipe.json"
    file.write_text(
        '[{"technique": "structured_pruning", "ratio": {"real": [0.1, 0.5]}}]'
    )
    (domain,) = catalog.read_recipe(file).space.values()
    assert domain == Real(0.1, 0.5)
    file.write_text("recipe: []")
    assert catalog.read_recipe(file) == Recipe()


@pytest.mark.parametrize(
    ("content", "code", "part"),
    [
        (b"- technique: [", "recipe-yaml", "not YAML"),
        (b"\xff\xfe\xff", "recipe-yaml", "not YAML"),
        (b"- 2026-13-45", "recipe-yaml", "not YAML"),
        (b"- " + b"9" * 5000, "recipe-yaml", "not YAML"),
        (b"[" * 5000, "recipe-yaml", "not YAML"),
        (b"", "recipe-yaml", "no list"),
        (b"structured_pruning", "recipe-yaml", "no list"),
        (b"recipe: 3", "recipe-yaml", "no list"),
        (b"recipes: []", "spec", "did you mean 'recipe'"),
        (b"- structured_pruning", "recipe-step", "technique: NAME"),
        (b"- technique: structured_prunning", "recipe-technique", "did you mean"),
    ],
)
def test_a_file_that_holds_no_recipe(tmp_path, content, code, part):
    file = tmp_path / "recipe.yaml"
    file.write_bytes(content)
    with pytest.raises(RecipeError, match=part) as raised:
        catalog.read_recipe(file)
    assert raised.value.code == code
    assert "\n" not in raised.value.message


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "nothing.yaml", tmp_path):
        with pytest.raises(RecipeError) as raised:
            catalog.read_recipe(path)
        assert raised.value.code == "recipe-not-found"


@pytest.mark.parametrize(
    ("step", "part"),
    [
        ({"technique": ["a"]}, "no technique ['a']"),
        ({"technique": PRUNE, 1: 2}, "has a name, not 1"),
        ({"technique": PRUNE, "ratoi": 0.5}, "did you mean 'ratio'"),
        ({"technique": PRUNE, "ratio": 10**400}, "too large"),
        ({"technique": PRUNE, "ratio": [10**5000]}, "limit"),
        ({"technique": PRUNE, "ratio": {"real": ["a", "b"]}}, "no domain"),
        ({"technique": PRUNE, "ratio": {"real": [0.9, 0.1]}}, "low not above high"),
        ({"technique": PRUNE, "ratio": {"real": [0.0, 0.5], "log": True}}, "above 0"),
        ({"technique": PRUNE, "ratio": {"real": [0.1, 0.5], "lgo": True}}, "no domain"),
        ({"technique": PRUNE, "ratio": {"real": [0.1, math.nan]}}, "no domain"),
        ({"technique": PRUNE, "ratio": {"real": [0.1, 7]}}, "goes beyond"),
        ({"technique": PRUNE, "ratio": {"choice": [0.1, 7]}}, "goes beyond"),
        ({"technique": PRUNE, "ratio": {"choice": []}}, "no domain"),
        ({"technique": PRUNE, "ratio": {"choice": [[0.1]]}}, "no domain"),
        ({"technique": PRUNE, "round_to": {"integer": [1, 16]}}, "goes beyond"),
        ({"technique": "fine_tuning", "epochs": {"integer": [1.5, 2]}}, "no domain"),
        ({"technique": "fine_tuning", "epochs": {"real": [1, 2]}}, "goes beyond"),
    ],
)
def test_a_step_that_cannot_be(step, part):
    with pytest.raises(RecipeError) as raised:
        catalog.recipe([step])
    assert part in raised.value.message


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["technique", "real", "integer", "choice", "log", "ratio", PRUNE])
)
keys = scalars.filter(lambda k: k == k)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=8
)
domains = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("real", "integer", "choice", "log"), anything)
)
nearly = st.sampled_from(sorted(catalog.TECHNIQUES)).flatmap(
    lambda name: st.dictionaries(
        st.sampled_from(["seed", *catalog.TECHNIQUES[name].domains()]) | keys,
        anything | domains,
        max_size=3,
    ).map(lambda found: {**found, "technique": name})
)


@settings(max_examples=400, deadline=None)
@given(anything | st.lists(nearly | anything, max_size=3))
def test_whatever_is_given_is_a_recipe_or_refused_in_a_sentence(given_steps):
    try:
        recipe = catalog.recipe(given_steps)
    except RecipeError as error:
        assert error.code and error.message
        return
    for key, domain in recipe.space.items():
        _, name, parameter = key.split(".")
        allowed = catalog.TECHNIQUES[name].domains()[parameter]
        ends = (
            domain.options if isinstance(domain, Choice) else (domain.low, domain.high)
        )
        assert all(end in allowed for end in ends)
