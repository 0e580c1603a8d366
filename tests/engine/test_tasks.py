"""A reference finds its task, or says in a sentence why not."""

import pytest

from paretune.core.errors import TaskError
from paretune.engine.tasks import find_task

FILE = """
from tests.toys import ConvNet, ResNet

class Mine(ConvNet):
    name = "mine"

other = ResNet()
number = 3
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "task.py"
    file.write_text(FILE)
    return file


def test_the_only_task_of_a_file(path):
    task = find_task(str(path))
    assert task.name == "mine" and task.reference == str(path)


def test_a_task_by_name(path):
    assert find_task(f"{path}:other").name == "resnet"


@pytest.mark.parametrize(
    ("reference", "part"),
    [
        ("nowhere/task.py", "There is no file"),
        ("fashon", "did you mean 'fashion'"),
        ("{path}:othr", "did you mean 'other'"),
        ("{path}:number", "must be an instance"),
        ("{folder}/tsk.py", "ask.py"),
    ],
)
def test_a_reference_that_names_no_task(path, reference, part):
    text = reference.format(path=path, folder=path.parent)
    with pytest.raises(TaskError, match=part):
        find_task(text)


@pytest.mark.parametrize(
    ("source", "place"),
    [("x = 1\nraise OSError('no disk')\n", ":2"), ("def f(:\n", ":1")],
)
def test_a_file_that_raises_shows_the_users_own_line(tmp_path, source, place):
    file = tmp_path / "bad.py"
    file.write_text(source)
    with pytest.raises(TaskError, match=f"bad.py{place}") as raised:
        find_task(str(file))
    assert "Error" in raised.value.details


def test_a_file_with_two_tasks_asks_which(tmp_path):
    file = tmp_path / "two.py"
    file.write_text(
        "from tests.toys import ConvNet\nclass A(ConvNet): ...\nclass B(ConvNet): ...\n"
    )
    with pytest.raises(TaskError, match="A, B"):
        find_task(str(file))
