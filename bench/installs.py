"""Peers' virtual environments: made when first needed, kept, each with its pinned packages."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.lineup import PYTHON_OF, TOLD, VENVS

CACHE = Path(os.environ.get("NEXTDAY_BENCH_CACHE", Path.home() / ".cache" / "nextday-bench"))
STAMP = "installed.txt"


class NotInstalled(Exception):
    """An environment that could not be made."""


def programs(venv: str | None) -> Path:
    """Where the programs of an environment are; None is the project's own."""
    return Path(sys.executable).parent if venv is None else CACHE / venv / "bin"


def ensure(venv: str) -> None:
    """
    Make an environment, unless it is there with these very packages.

    Raises:
        NotInstalled: pip could not.
    """
    folder, wanted = CACHE / venv, "\n".join(VENVS[venv])
    stamp = folder / STAMP
    if stamp.exists() and stamp.read_text() == wanted:
        return
    interpreter = PYTHON_OF.get(venv, sys.executable)
    if not shutil.which(interpreter):
        raise NotInstalled(f"it needs {interpreter}, which is not here")
    CACHE.mkdir(parents=True, exist_ok=True)
    _run([interpreter, "-m", "venv", "--clear", str(folder)])
    _run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *VENVS[venv]])
    stamp.write_text(wanted)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(done.stderr.strip()[-500:] or f"{command[0]} ended with code {done.returncode}")


def versions(venv: str | None) -> dict[str, str]:
    """Versions of an environment's packages that are worth telling, and of its Python."""
    code = (
        "import json, platform\n"
        "from importlib.metadata import distributions\n"
        "found = {each.metadata['Name'].lower(): each.version for each in distributions()}\n"
        "print(json.dumps({'python': platform.python_version(), **found}))"
    )
    done = subprocess.run([programs(venv) / "python", "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    return {name: found[name] for name in ("python", "onnxruntime", "numpy", *TOLD) if name in found}
