"""What a start says where it cannot be, and what it sees to first."""

import resource
import socket
import subprocess
import sys

import pytest

from models.errors import SettingError
from service.serve import PortTaken, free_address


def test_a_port_that_is_taken_is_said_to_be_even_where_the_server_would_share_it() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(PortTaken, match=f"port {port} of 127.0.0.1 is taken"):
            free_address("127.0.0.1", port)


def test_a_name_becomes_an_address() -> None:
    assert free_address("localhost", 0) in ("127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("host", "port", "told"),
    [
        ("127.0.0.1", 70_000, "NEXTDAY_PORT='70000': a port, 1 to 65535"),
        ("no such host", 8000, "NEXTDAY_HOST='no such host': an address to listen on"),
        ("192.0.2.1", 8000, "NEXTDAY_HOST='192.0.2.1': an address of this machine"),
    ],
)
def test_an_address_that_cannot_be_names_its_variable(host: str, port: int, told: str) -> None:
    with pytest.raises(SettingError) as caught:
        free_address(host, port)

    assert told in str(caught.value)


def test_a_server_may_open_as_many_files_as_the_system_lets_it() -> None:
    code = (
        "import resource\n"
        "from service.serve import allow_files\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "allow_files()\n"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert printed.split() == [str(most)] * 2
