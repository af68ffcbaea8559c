"""A real server process for the tests of the Open Inference Protocol."""

from collections.abc import Iterator

import httpx
import pytest
import tritonclient.http as triton
from flask.testing import FlaskClient

from models.repository import Repository
from service import create_app
from service.settings import ServiceSettings
from tests.contract.protocol import MAX_BODY_BYTES, MAX_CLOSES, MAX_SERIES, address
from tests.integration.server_process import DEADLINE_S, Server, serving


@pytest.fixture(scope="package")
def protocol_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limits = {
        "NEXTDAY_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        "NEXTDAY_MAX_SERIES": str(MAX_SERIES),
        "NEXTDAY_MAX_CLOSES": str(MAX_CLOSES),
    }
    with serving(tmp_path_factory.mktemp("protocol"), **limits) as running:
        yield running


@pytest.fixture
def tritonclient(protocol_server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address(protocol_server), network_timeout=DEADLINE_S) as client:
        yield client


@pytest.fixture(scope="module")
def http(protocol_server: Server) -> Iterator[httpx.Client]:
    headers = {"Accept-Encoding": "identity"}
    with httpx.Client(base_url=protocol_server.url, timeout=DEADLINE_S, headers=headers) as client:
        yield client


@pytest.fixture(scope="module")
def protocol_app(models: Repository) -> FlaskClient:
    return create_app(ServiceSettings(max_body_bytes=MAX_BODY_BYTES), models=models).test_client()
