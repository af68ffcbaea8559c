"""A real server process for the tests of the Open Inference Protocol."""

from collections.abc import Iterator

import httpx
import pytest
import tritonclient.http as triton
from flask.testing import FlaskClient

from models.repository import Repository
from service.app import create_app
from service.settings import ServiceSettings
from tests.contract.protocol import AUTHORIZED, KEY, MAX_BODY_BYTES, MAX_CLOSES, MAX_SERIES, address, with_key
from tests.integration.server_process import DEADLINE_S, Server, serving


@pytest.fixture(scope="package")
def protocol_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("protocol")
    (folder / "api-keys").write_text(KEY.line)
    settings = {
        "NEXTDAY_API_KEYS_FILE": str(folder / "api-keys"),
        "NEXTDAY_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        "NEXTDAY_MAX_SERIES": str(MAX_SERIES),
        "NEXTDAY_MAX_CLOSES": str(MAX_CLOSES),
    }
    with serving(folder, **settings) as running:
        yield running


@pytest.fixture
def tritonclient(protocol_server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address(protocol_server), network_timeout=DEADLINE_S) as client:
        yield with_key(client)


@pytest.fixture(scope="module")
def http(protocol_server: Server) -> Iterator[httpx.Client]:
    headers = {"Accept-Encoding": "identity", **AUTHORIZED}
    with httpx.Client(base_url=protocol_server.url, timeout=DEADLINE_S, headers=headers) as client:
        yield client


@pytest.fixture(scope="module")
def protocol_app(models: Repository) -> FlaskClient:
    return create_app(ServiceSettings(max_body_bytes=MAX_BODY_BYTES), models=models).test_client()
