"""A process is not taken for another one."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from paretune.store._processes import Process, alive, started
from tests.store.faults import fork, kill, until

HERE = Process.of()

pytestmark = pytest.mark.skipif(not HERE.boot, reason="there is no /proc")


def test_the_living_are_not_gone() -> None:
    assert Process.of() == HERE
    assert not HERE.gone
    assert not Process.of(1).gone


def test_the_dead_are_gone_even_unburied() -> None:
    pid = fork(lambda: time.sleep(60))
    child = Process.of(pid)
    assert not child.gone
    os.kill(pid, 9)
    until(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")
    assert child.gone
    os.waitpid(pid, 0)
    assert child.gone
    assert started(pid) == ""


def test_a_number_that_was_given_away_is_gone() -> None:
    assert replace(HERE, started="1").gone


def test_a_machine_that_was_restarted_has_none_left() -> None:
    assert replace(HERE, boot="before").gone
    assert not replace(HERE, boot="other", host="elsewhere").gone


def test_what_another_container_runs_can_not_be_known() -> None:
    assert not replace(HERE, namespace="other", pid=999_999_999).gone


def test_a_name_with_brackets_does_not_mislead(tmp_path: Path) -> None:
    program = tmp_path / "a) Z (b"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    pid = os.posix_spawn(program, ["sleep", "60"], {})
    try:
        assert alive(pid)
        assert started(pid).isdigit()
    finally:
        kill(pid)
