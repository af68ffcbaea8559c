import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import SettingError
from models.settings import from_env
from service.settings import ServiceSettings


def test_what_the_environment_does_not_set_has_its_default() -> None:
    settings = from_env(ServiceSettings, {"NEXTDAY_PORT": "9000", "NEXTDAY_DEVICE": "cpu", "PORT": "1"})

    assert (settings.port, settings.device, settings.host) == (9000, "cpu", "127.0.0.1")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NEXTDAY_PORT", "eighty"),
        ("NEXTDAY_PORT", "-1"),
        ("NEXTDAY_DEVICE", "gpu"),
        ("NEXTDAY_LEASE_S", "nan"),
        ("NEXTDAY_CHUNK_ROWS", "0"),
        ("NEXTDAY_WORKER_THREADS", "1.5"),
    ],
)
def test_a_bad_value_is_named_with_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"{variable}='{value}'"):
        from_env(ServiceSettings, {variable: value})


def test_the_queue_s_address_with_its_password_shows_in_no_repr() -> None:
    settings = from_env(ServiceSettings, {"NEXTDAY_REDIS_URL": "redis://:secret@127.0.0.1/0"})

    assert "secret" not in repr(settings)


def test_onnxruntime_collects_nothing_about_this_machine(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}

    subprocess.run([sys.executable, "-c", "import models.execution"], env={**env, "HOME": str(tmp_path)}, check=True)

    assert list(tmp_path.rglob("*")) == []
