"""Every command and every script that the README shows, run as a reader would.

`make test` runs this very file, and `make demo` is the same call as `paretune demo`.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
LINES = [
    line.partition("  #")[0].strip()
    for kind, block in BLOCKS
    if kind == "sh"
    for line in block.splitlines()
    if line.strip()
]
COMMANDS = [line for line in LINES if not line.startswith("make")]
# A reader gives a search minutes; a test gives it one short trial, which is to fit.
SHORTER = {
    "--budget 10m": "--trials 1 --epochs 1 --quick --workers 1",
    "size<=200kB": "size<=600kB",
    "--study two": "--study two --quick --workers 1",
    "attribute two": "attribute two --quick",
    "--epochs 2 --trials 12": "--epochs 1 --trials 1 --workers 1",
    "--quality 0.85": "--quality 0.85 --shares 5 --seeds 1 --epochs 1",
}

PREAMBLE = """
import torch
from tests.toys import ConvNet
toy = ConvNet()
net = toy.model()
train, validation, test = (
    [tuple(torch.as_tensor(part) for part in pair) for pair in toy.batches(split)]
    for split in ("train", "validation", "test")
)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    for kind, block in BLOCKS:
        if kind == "yaml":  # its first line names the file
            (folder / block.split()[1]).write_text(block)
    return folder


def run(command, place, **options):
    """The finished process; `paretune` and `python` are those that run this test."""
    words = shlex.split(command)
    programs = {
        "paretune": [sys.executable, "-m", "paretune.cli.main"],
        "python": [sys.executable],
    }
    surroundings = {
        **os.environ,
        "XDG_DATA_HOME": str(place / "data"),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        [*programs[words[0]], *words[1:]],
        cwd=place,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        **options,
    )


def test_the_two_commands_come_first():
    assert LINES[:2] == ["make demo", "make test"]
    made = (ROOT / "Makefile").read_text()
    assert "\tdemo:" not in made and "paretune demo" in made and "pytest" in made


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_works(command, place):
    shorter = command
    for long, short in SHORTER.items():
        shorter = shorter.replace(long, short)
    told = run(shorter, place)
    # 2 says that the one short trial doesn't meet the budget, which is no error
    allowed = (0, 2) if ("optimize" in command or "frontier" in command) else (0,)
    assert told.returncode in allowed, told.stderr
    assert "Traceback" not in told.stderr


def test_the_script_works(place):
    (script,) = (block for kind, block in BLOCKS if kind == "python")
    assert len([x for x in script.splitlines() if x.strip()]) <= 10
    quick = script.replace("seconds=600", "trials=1, quick=True, epochs=1, workers=1")
    assert quick != script
    file = place / "script.py"
    file.write_text(PREAMBLE + quick.replace('"bundle"', '"script-bundle"'))
    told = run("python script.py", place)
    assert told.returncode == 0, told.stderr
    assert (place / "script-bundle" / "model.onnx").exists()
    assert (place / "report.html").exists()


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)h][^)]*)\)", README))
def test_every_link_leads_somewhere(link):
    assert (ROOT / link).exists()
