"""The layout's own promises."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from paretune import catalog

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "paretune"
FOLDERS = (
    "compression",
    "learning",
    "architectures",
    "automation",
    "automation/samplers",
    "strategies",
    "tasks",
    "workers",
    "infrastructure/runtimes",
)
MEMBERS = [p for f in FOLDERS for p in sorted((SOURCE / f).glob("[!_]*.py"))]
CATALOGS = {
    "technique": catalog.TECHNIQUES,
    "runtime": catalog.RUNTIMES,
    "sampler": catalog.SAMPLERS,
    "strategy": catalog.STRATEGIES,
    "meter": catalog.METERS,
    "task": catalog.TASKS,
    "worker": catalog.WORKERS,
}


@pytest.mark.parametrize("path", MEMBERS, ids=lambda p: p.stem)
def test_every_member_has_a_test_at_the_mirrored_path(path):
    folder = path.parent.relative_to(SOURCE)
    if folder.name in ("samplers", "workers") and path.stem != "isolated":
        return  # the contract tests say all that is to be said of them
    assert (ROOT / "tests" / folder / f"test_{path.name}").exists()


@pytest.mark.parametrize("what", CATALOGS)
def test_every_member_of_a_catalogue_loads(what):
    for name in CATALOGS[what]:
        assert CATALOGS[what][name].__doc__, f"{what} {name} says nothing of itself"


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=str)
def test_nothing_is_pickled(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {a.name for a in node.names} | {getattr(node, "module", "") or ""}
            heads = {n.split(".")[0] for n in names}
            assert not heads & {"pickle", "cloudpickle", "dill", "joblib", "marshal"}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            call = ast.unparse(node.func)
            assert call not in ("torch.load", "torch.save", "torch.jit.load")
            if call.endswith(("np.load", "numpy.load")):
                allowed = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert allowed.get("allow_pickle", "False") == "False"


def test_listing_loads_no_framework():
    probe = (
        "import sys; from paretune.cli.main import main\n"
        "try: main(['list'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'optuna', 'sqlalchemy', 'scipy'}\n"
        "sys.exit(','.join(heavy & set(sys.modules)) or None)"
    )
    told = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert "structured_pruning" in told.stdout
