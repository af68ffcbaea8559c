"""The shape of the code: which way its arrows point, who knows torch, how long things are."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "models": {"models"},
    "worker": {"models", "worker"},
    "service": {"models", "worker", "service"},
    "nextday": {"models", "worker", "service"},
}
TORCH_FILES = {
    "family.py",
    "networks.py",
    "features.py",
    "fit.py",
    "train.py",
    "export.py",
    "gates_graph.py",
    "reexport.py",
    "gradients.py",
    "memory.py",
    "exploding.py",
}
CUDA_GRAPH = ROOT / "models" / "cuda_graph.py"
"""Knows onnx alone, and is loaded where a GPU is."""
LIGHT = ("nextday", "models.errors")
LONGEST_FUNCTION, LONGEST_FILE = 60, 500
NO_NAMES = {"utils", "util", "common", "base", "helpers", "misc"}

FILES = [ROOT / "nextday.py", *(path for name in MAY_IMPORT for path in sorted((ROOT / name).rglob("*.py")))]
TEST_FILES = [*sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "bench").rglob("*.py"))]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(source: str) -> set[str]:
    """Modules that a source imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "." * node.level)
    return found


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Functions of a source with their lengths in lines; a decorator is not the function, a docstring is."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=named)
def test_arrows_point_from_service_to_worker_to_models(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0].removesuffix(".py")
    ours = {module.split(".")[0] for module in imports(path.read_text())} & {*MAY_IMPORT, "tests", "bench", ""}

    assert ours <= MAY_IMPORT[package]


@pytest.mark.parametrize("path", FILES, ids=named)
def test_only_training_knows_torch(path: Path) -> None:
    knows = {module.split(".")[0] for module in imports(path.read_text())} & {"torch", "onnx"}

    assert not knows or (path.parent.name == "models" and path.name in TORCH_FILES) or path == CUDA_GRAPH
    assert path != CUDA_GRAPH or knows == {"onnx"}


@pytest.mark.parametrize("module", ["nextday", "service", "service.serve", "service.up", "worker", "worker.entry"])
def test_importing_what_serves_loads_no_torch_and_connects_to_nothing(module: str) -> None:
    loaded = loaded_by(module)

    assert not loaded & {"torch", "onnx", "pandas", "sklearn", "skfolio"}


@pytest.mark.parametrize("module", LIGHT)
def test_importing_the_command_line_loads_nothing_heavy(module: str) -> None:
    assert not loaded_by(module) & {"torch", "onnxruntime", "pyarrow", "celery", "flask", "numpy"}


def test_what_reads_uploads_loads_nothing_that_runs_models_or_speaks_to_redis() -> None:
    loaded = loaded_by("worker.intake_process")

    assert not loaded & {"onnxruntime", "torch", "celery", "redis", "flask"}
    assert "pyarrow" in loaded


def loaded_by(module: str) -> set[str]:
    """Top-level modules in a fresh interpreter after an import, in which opening a socket is an error."""
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('an import opened a connection')\n"
        "socket.socket.connect = refuse\n"
        f"import {module}\n"
        "print('\\n'.join({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("path", [*FILES, *TEST_FILES], ids=named)
def test_files_and_functions_stay_small(path: Path) -> None:
    source = path.read_text()

    assert source.count("\n") < LONGEST_FILE
    assert not [(name, lines) for name, lines in functions(source) if lines >= LONGEST_FUNCTION]


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_file_is_called_after_nothing(path: Path) -> None:
    assert path.stem not in NO_NAMES


@pytest.mark.parametrize(
    "source", ["import service.up", "from service import up", "def f():\n    from service.up import up"]
)
def test_an_import_is_seen_wherever_it_stands(source: str) -> None:
    assert {module.split(".")[0] for module in imports(source)} == {"service"}


def test_lengths_are_counted() -> None:
    assert list(functions("@a\ndef f():\n    pass\n\n\ndef g():\n    return 1\n")) == [("f", 2), ("g", 2)]
