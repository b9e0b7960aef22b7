"""The import table of the house, held against the code.

Every import counts: at the top of a file, inside a function, relative, under TYPE_CHECKING, and
by `importlib.import_module` or `__import__` with a literal name.
"""

import ast
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mcl_bench"

SHARED = {"records", "spec", "files"}
"""What every room may use."""

MAY_IMPORT = {
    "cli": {"sweep", "training", "data", "losses", "results", "doctor"} | SHARED,
    "sweep": {"training", "data", "losses"} | SHARED,
    "training": {"data", "losses"} | SHARED,
    "data": SHARED,
    "losses": SHARED,
    "results": SHARED,
    "testing": {"training", "data", "losses"} | SHARED,
    "spec": SHARED,
    "files": {"records"},
    "records": set(),
    "doctor": {"records"},
    "__init__": {"losses"},
}
"""Room -> the other rooms it may import. `__init__` is the package's own file."""

ALONE = {"results/served_model.py": {"training"}}
"""A file that no room imports, and what else it may import: MLflow runs it to load a model."""

HOME_OF = {
    "torch": {"losses", "data", "training", "testing"},
    "pytorch_metric_learning": {"losses"},
    "pytest": {"testing"},
    "torchvision": {"data", "training"},
    "torchmetrics": {"training"},
    "ray": {"sweep"},
    "optuna": {"sweep"},
    "psycopg": {"sweep"},
    "sqlalchemy": {"sweep"},
    "mlflow": {"results"},
    "pyarrow": {"data", "results", "files"},
    "timm": {"training"},
    "efficientnet_lite_pytorch": {"training"},
    "jinja2": {"results"},
    "plotly": {"results"},
}
"""Heavy third-party package -> the rooms that may import it; the two after torch load it."""

WORKERS_OWN = {f"mcl_bench.sweep.{name}" for name in ("failures", "lease", "watchdog")}
"""What the worker may import of its own room: it knows failures and files by the driver's names."""

WORKER = {"sweep/worker.py", *(f"sweep/{name.rpartition('.')[2]}.py" for name in WORKERS_OWN)}
"""Run in every worker process, where each further import costs every trial's start."""

LAZY_NAMES = {"MCLoss": "losses", "mc_loss": "losses"}
"""What the package's own `__getattr__` fetches, and from which room."""


@dataclass(frozen=True, kw_only=True)
class Import:
    """One imported module, as a full dotted name, and where it stands.

    `when_loaded` is False inside functions and under TYPE_CHECKING.
    """

    path: str
    line: int
    module: str
    when_loaded: bool

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.module}"

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    @property
    def room(self) -> str | None:
        """The room of this package that is imported; None for other packages and the version."""
        parts = self.module.split(".")
        return parts[1] if parts[0] == "mcl_bench" and len(parts) > 1 else None


def violations(package: Path) -> list[str]:
    """Every import under `package` that breaks the table, as `file:line: module: rule`."""
    return [
        f"{found}: {rule}"
        for path in sorted(package.rglob("*.py"))
        for found in imports_of(path, package)
        for rule in broken_rules(found)
    ]


def broken_rules(found: Import) -> Iterator[str]:
    room = Path(found.path).parts[0].removesuffix(".py")
    if room not in MAY_IMPORT:
        yield f"{room} is no room of the import table"
        return
    allowed = {room, None} | MAY_IMPORT[room] | ALONE.get(found.path, set())
    if found.room not in allowed:
        yield f"{room} may not import {found.room}"
    if room not in HOME_OF.get(found.top, {room}):
        yield f"{found.top} may be imported only in {', '.join(sorted(HOME_OF[found.top]))}"
    if found.path in WORKER:
        yield from broken_worker_rules(found)


def broken_worker_rules(found: Import) -> Iterator[str]:
    if found.top == "mcl_bench":
        if found.room == "training" and found.when_loaded:
            yield "the worker imports training inside its methods only"
        elif found.module in WORKERS_OWN:
            return
        elif found.room not in {"training", "records", "spec", "files", None}:
            yield "the worker imports no room but training"
    elif found.top in HOME_OF and found.top != "ray":
        yield "the worker imports no heavy package but ray"


def imports_of(path: Path, package: Path) -> Iterator[Import]:
    name = path.relative_to(package).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=name)
    for node, when_loaded in nodes_of(tree, when_loaded=True):
        for module in modules_of(node, parent_of(name)):
            yield Import(path=name, line=node.lineno, module=module, when_loaded=when_loaded)


def nodes_of(node: ast.AST, *, when_loaded: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below this one, and whether it runs when its file is loaded."""
    for child in ast.iter_child_nodes(node):
        yield child, when_loaded
        runs = when_loaded and not isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        )
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            runs = False
        yield from nodes_of(child, when_loaded=runs)


def parent_of(name: str) -> list[str]:
    """The dotted parts of the package that holds a file, which relative imports start from."""
    return ["mcl_bench", *Path(name).parts[:-1]]


def modules_of(node: ast.AST, parent: list[str]) -> list[str]:
    """The full names of the modules that one statement or call imports; most nodes: none."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            base = ".".join(
                [*(parent[: len(parent) - level + 1] if level else []), *([module] * bool(module))]
            )
            return [full_name(base, alias.name) for alias in names]
        case ast.Call(func=func, args=[ast.Constant(value=str(module)), *_]) if ast.unparse(
            func
        ).rpartition(".")[2] in {"import_module", "__import__"}:
            return [module]
    return []


def full_name(base: str, name: str) -> str:
    """What `from base import name` reaches: a room where base is the package itself."""
    if base != "mcl_bench":
        return base
    room = LAZY_NAMES.get(name, name)
    return base if room.startswith("__") else f"{base}.{room}"


def test_every_import_follows_the_table() -> None:
    assert violations(PACKAGE) == []


def test_every_room_of_the_package_is_in_the_table() -> None:
    rooms = {
        path.name.removesuffix(".py")
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or any(path.rglob("*.py"))
    }
    assert rooms <= set(MAY_IMPORT)


def planted(folder: Path, name: str, source: str) -> Path:
    """A package of one file: the house's own of that name, if there is one, and what is added."""
    package = folder / "mcl_bench"
    own = PACKAGE / name
    target = package / name
    target.parent.mkdir(parents=True)
    target.write_text(
        (own.read_text(encoding="utf-8") if own.exists() else "") + source, encoding="utf-8"
    )
    return package


def test_one_planted_import_is_found_in_the_whole_house(tmp_path: Path) -> None:
    house = tmp_path / "mcl_bench"
    shutil.copytree(PACKAGE, house, ignore=shutil.ignore_patterns("__pycache__"))
    (house / "spec" / "planted.py").write_text("def f():\n    import torch\n", encoding="utf-8")
    assert violations(house) == [
        "spec/planted.py:2: torch: torch may be imported only in data, losses, testing, training"
    ]


PLANTS = [
    (
        "data/planted.py",
        "from mcl_bench.training import Training\n",
        "data may not import training",
    ),
    ("sweep/planted.py", "import mcl_bench.results\n", "sweep may not import results"),
    ("results/planted.py", "from mcl_bench.sweep import plan\n", "results may not import sweep"),
    ("results/planted.py", "from mcl_bench import losses\n", "results may not import losses"),
    (
        "training/planted.py",
        "from mcl_bench.sweep.plan import Plan\n",
        "training may not import sweep",
    ),
    ("losses/planted.py", "from ..data import prepare\n", "losses may not import data"),
    ("data/catalog/planted.py", "from ...losses import mc\n", "data may not import losses"),
    ("spec/planted.py", "from .. import training\n", "spec may not import training"),
    ("spec/planted.py", "from mcl_bench import mc_loss\n", "spec may not import losses"),
    ("spec/planted.py", "from mcl_bench.cli import main\n", "spec may not import cli"),
    ("records.py", "\nimport mcl_bench.spec\n", "records may not import spec"),
    ("spec/planted.py", "import torch\n", "torch may be imported only in"),
    ("sweep/planted.py", "from torch import nn\n", "torch may be imported only in"),
    ("cli/planted.py", "import torch.nn as nn\n", "torch may be imported only in"),
    ("results/planted.py", "import ray\n", "ray may be imported only in sweep"),
    ("training/planted.py", "import optuna\n", "optuna may be imported only in sweep"),
    (
        "training/planted.py",
        "def f():\n    from pytorch_metric_learning import losses\n",
        "pytorch_metric_learning may be imported only in losses",
    ),
    (
        "losses/planted.py",
        "from mcl_bench.testing import LossContract\n",
        "losses may not import testing",
    ),
    ("data/planted.py", "import pytest\n", "pytest may be imported only in testing"),
    ("sweep/planted.py", "import mlflow\n", "mlflow may be imported only in results"),
    ("training/planted.py", "import pyarrow.parquet\n", "pyarrow may be imported only in"),
    ("utils/planted.py", "import os\n", "utils is no room of the import table"),
    ("sweep/worker.py", "\nfrom mcl_bench.training import Training\n", "inside its methods only"),
    ("sweep/worker.py", "\nfrom mcl_bench.sweep import studies\n", "no room but training"),
    ("sweep/failures.py", "\nfrom mcl_bench.sweep import plan\n", "no room but training"),
    ("sweep/worker.py", "\nimport optuna\n", "no heavy package but ray"),
    ("sweep/worker.py", "\ndef f():\n    import torch\n", "no heavy package but ray"),
]


@pytest.mark.parametrize(("name", "source", "rule"), PLANTS)
def test_a_planted_import_is_found(tmp_path: Path, name: str, source: str, rule: str) -> None:
    found = violations(planted(tmp_path, name, source))
    assert any(rule in line and line.startswith(f"{name}:") for line in found), found


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    import optuna\n",
        "class A:\n    async def f(self):\n        from optuna.trial import Trial\n",
        "f = lambda: __import__('optuna')\n",
        "import importlib\ndef f():\n    return importlib.import_module('optuna.study')\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import optuna\n",
        "try:\n    import optuna\nexcept ImportError:\n    optuna = None\n",
    ],
)
def test_a_planted_import_is_found_wherever_it_hides(tmp_path: Path, source: str) -> None:
    found = violations(planted(tmp_path, "training/planted.py", source))
    assert len(found) == 1
    assert "optuna may be imported only in sweep" in found[0]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("cli/planted.py", "def f():\n    from mcl_bench.results import leaderboard\n"),
        ("sweep/planted.py", "import optuna\nfrom mcl_bench import __version__, spec\n"),
        ("losses/planted.py", "import torch\nfrom mcl_bench.records import UserError\n"),
        ("losses/planted.py", "from . import mc\nfrom .mc import mc_loss\n"),
        ("files.py", "\nimport pyarrow.fs\n"),
        (
            "sweep/worker.py",
            "\nimport ray\ndef f():\n    from mcl_bench.training import Training\n",
        ),
        (
            "sweep/worker.py",
            "\nif TYPE_CHECKING:\n    from mcl_bench.training import Training\n",
        ),
        ("data/planted.py", "text = 'import optuna'\nimport torchlike\n"),
    ],
)
def test_an_import_that_the_table_allows_is_let_be(tmp_path: Path, name: str, source: str) -> None:
    assert violations(planted(tmp_path, name, source)) == []
