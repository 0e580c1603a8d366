"""What every technique promises, whichever it is, on every kind of toy model."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from paretune.catalog import TECHNIQUES, recipe
from paretune.core.candidate import Candidate
from paretune.core.errors import UnsupportedError
from paretune.core.recipe import Recipe
from paretune.core.space import Integer
from paretune.core.task import as_arrays
from paretune.core.technique import Run, Technique
from paretune.infrastructure.formats import torch as torch_format
from tests.toys import TOYS

on_each = pytest.mark.parametrize("name", TECHNIQUES)
on_each_toy = pytest.mark.parametrize("toy", TOYS)


def formats(name: str):
    return importlib.import_module(f"paretune.infrastructure.formats.{name}")


@functools.cache
def base(toy: str, name: str) -> Candidate:
    task = TOYS[toy]()
    candidate = Candidate(task.model(), "torch")
    if name == "torch":
        return candidate
    return formats(name).from_torch(candidate, task)


@functools.cache
def ready(toy: str, technique: type[Technique]) -> Candidate:
    """A candidate that has all that the technique needs."""
    candidate = base(toy, technique.formats()[0])
    for trait in sorted(technique.needs):
        giver = next(t for t in TECHNIQUES.values() if trait in t.gives)
        candidate = giver().apply(candidate, Run(TOYS[toy](), seed=3))
    return candidate


def outputs(candidate: Candidate, toy: str) -> dict[str, np.ndarray]:
    inputs = next(iter(TOYS[toy]().batches("validation")))[0]
    if candidate.format == "torch":
        with torch.no_grad():
            tensors = torch_format.tensors(inputs)
            return as_arrays(torch_format.call(candidate.model, tensors), "output")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        candidate.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [o.name for o in session.get_outputs()]
    values = session.run(names, as_arrays(inputs, "input"))
    return dict(zip(names, values, strict=True))


def content(candidate: Candidate) -> bytes | dict[str, np.ndarray]:
    if candidate.format == "torch":
        return as_arrays(
            {k: v.clone() for k, v in candidate.model.state_dict().items()}, "weight"
        )
    return candidate.model.SerializeToString(deterministic=True)


def same(a, b) -> bool:
    if isinstance(a, bytes):
        return a == b
    return a.keys() == b.keys() and all(
        x.dtype == y.dtype and np.array_equal(x, y)
        for x, y in zip(a.values(), b.values(), strict=True)
    )


def trainable(candidate: Candidate) -> dict[str, bool]:
    if candidate.format != "torch":
        return {}
    return {k: p.requires_grad for k, p in candidate.model.named_parameters()}


def free(technique: type[Technique]) -> Recipe:
    return Recipe((technique(**technique.domains()),))


def drawn(recipe: Recipe, seed: int) -> Recipe:
    rng = np.random.default_rng(seed)
    # Integers are sizes and counts of passes: the low end keeps the run short.
    return recipe.bind(
        {
            key: d.low if isinstance(d, Integer) else d.sample(rng)
            for key, d in recipe.space.items()
        }
    )


@on_each
def test_it_is_frozen_and_names_its_paper(name):
    technique = TECHNIQUES[name]
    assert dataclasses.is_dataclass(technique)
    assert technique.__dataclass_params__.frozen
    assert technique.name() == name
    assert "arXiv" in technique.source or "doi" in technique.source
    assert technique.__doc__


@on_each
def test_its_defaults_are_in_their_domains(name):
    technique = TECHNIQUES[name]
    values, domains = technique().parameters(), technique.domains()
    assert values.keys() == domains.keys()
    assert all(values[key] in domain for key, domain in domains.items())


@on_each
def test_it_handles_formats_that_exist_and_refuses_others(name):
    technique = TECHNIQUES[name]
    assert technique.formats()
    assert all(hasattr(formats(f), "load") for f in technique.formats())
    with pytest.raises(UnsupportedError, match=r"\[format\].*'stone'"):
        technique().apply(Candidate(None, "stone"), Run(TOYS["convnet"]()))


@on_each
def test_each_of_its_parameters_can_be_searched(name):
    technique = TECHNIQUES[name]
    whole = free(technique)
    assert [key.split(".")[-1] for key in whole.space] == list(technique.domains())
    assert not drawn(whole, 0).space
    assert recipe(drawn(whole, 0).to_json()) == drawn(whole, 0)
    assert recipe(whole.to_json()).space.keys() == whole.space.keys()


@on_each
@on_each_toy
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_it_works_on_a_copy_or_says_why_not(name, toy, seed, tmp_path: Path):
    technique = TECHNIQUES[name]
    bound = Recipe((technique(),)) if seed is None else drawn(free(technique), seed)
    (step,) = bound.steps
    task = TOYS[toy]()
    candidate = ready(toy, technique)
    before, answers = content(candidate), outputs(candidate, toy)
    try:
        result = step.apply(candidate, Run(task, seed=3))
    except UnsupportedError as error:
        assert error.message.endswith(".")
        return
    finally:
        assert same(content(candidate), before)
        assert same(outputs(candidate, toy), answers)

    assert result.format == candidate.format
    assert result.traits == step.traits_after(candidate.traits)
    assert len(result.lineage) == len(candidate.lineage) + 1
    given = outputs(result, toy)
    assert {k: v.shape for k, v in given.items()} == {
        k: v.shape for k, v in answers.items()
    }
    assert all(np.isfinite(v).all() for v in given.values())

    again = step.apply(candidate, Run(task, seed=3))
    assert same(outputs(again, toy), given)

    formats(result.format).save(result, task, tmp_path)
    loaded = formats(result.format).load(tmp_path, task)
    assert same(outputs(loaded, toy), given)
    assert (loaded.traits, loaded.lineage) == (result.traits, result.lineage)
    assert trainable(loaded) == trainable(result)


@on_each
def test_it_meets_what_is_frozen_as_it_was_also_after_it_was_kept(name, tmp_path):
    technique = TECHNIQUES[name]
    if technique.formats()[0] != "torch":
        return
    task = TOYS["convnet"]()
    given = ready("convnet", technique)
    model = torch_format.clone(given.model)
    for parameter in list(model.parameters())[::2]:
        parameter.requires_grad_(False)
    candidate = dataclasses.replace(given, model=model)
    (step,) = drawn(free(technique), 0).steps
    try:
        result = step.apply(candidate, Run(task, seed=3))
    except UnsupportedError as error:
        assert error.message.endswith(".")
        return
    torch_format.save(result, task, tmp_path)
    assert trainable(torch_format.load(tmp_path, task)) == trainable(result)
