"""`paretune list`: everything by name, and each technique by itself."""

import pytest

from paretune.catalog import TECHNIQUES
from paretune.cli.list import command
from paretune.core.errors import UnavailableError


def test_every_technique_is_listed_under_its_area(capsys):
    command()
    lines = dict(
        line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()
    )
    for name in TECHNIQUES:
        assert name in lines[TECHNIQUES.area(name)].split(", ")


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_technique_tells_its_parameters_and_its_paper(name, capsys):
    command(name)
    told = capsys.readouterr().out
    for key, domain in TECHNIQUES[name].domains().items():
        assert f"    {key}" in told and str(domain) in told
    assert TECHNIQUES[name].source in told
    assert "Example" not in told


def test_one_that_is_not_there_is_said():
    with pytest.raises(UnavailableError, match="did you mean 'distillation'"):
        command("destillation")
