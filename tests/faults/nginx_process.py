"""A real nginx, with the configuration that ships."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy import proxy
from tests.integration.server_process import free_port


@contextmanager
def proxying(folder: Path, urls: Sequence[str], at_once: int = proxy.QUICK_AT_ONCE) -> Iterator[str]:
    """The address of an nginx in front of servers; skips where there is no nginx, but not in CI."""
    if not (nginx := proxy.found()):
        assert os.environ.get("CI") != "true", "there is no nginx, and these drills are not left out in CI"
        pytest.skip("there is no nginx here: apt-get install nginx-light")
    with proxy.proxying(nginx, folder, free_port(), urls, at_once) as address:
        yield address
