"""Machines of their own: network namespaces on a bridge, whose cables can be pulled."""

import itertools
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest


def may_make_machines() -> bool:
    """Whether this process may make a network namespace and filter in it."""
    name = f"nd{os.getpid()}"
    try:
        if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
            return False
        inside = ["ip", "netns", "exec", name, "iptables", "-L"]
        filters = subprocess.run(inside, capture_output=True, check=False).returncode == 0
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return filters


needs_machines = pytest.mark.skipif(
    not may_make_machines(), reason="needs root, ip and iptables: it makes network namespaces and cuts them off"
)


_networks = itertools.count()


@dataclass(frozen=True)
class Machine:
    """
    A network namespace.

    Attributes:
        inside: Command before that of a program, which puts it there.
    """

    inside: Sequence[str]

    def cut_off(self) -> None:
        """Drop every packet in both directions, as when a switch has died: nobody is told."""
        for chain in ("INPUT", "OUTPUT"):
            run(*self.inside, "iptables", "-A", chain, "-j", "DROP")

    def heal(self) -> None:
        run(*self.inside, "iptables", "-F")


@dataclass(frozen=True)
class Network:
    """Machines, and the address at which they reach this one."""

    address: str
    machines: Sequence[Machine]


@contextmanager
def network(machines: int) -> Iterator[Network]:
    """Machines that reach this one, and each other only through it."""
    # The system takes a namespace apart after it has said that it is deleted: names are used once.
    name, subnet = f"nd{os.getpid()}-{next(_networks)}", f"10.213.{os.getpid() % 250}"
    with ExitStack() as made:
        run("ip", "link", "add", name, "type", "bridge")
        made.callback(run, "ip", "link", "del", name)
        run("ip", "addr", "add", f"{subnet}.1/24", "dev", name)
        run("ip", "link", "set", name, "up")
        each = range(machines)
        found = [made.enter_context(_machine(f"{name}-{at}", name, f"{subnet}.{at + 2}")) for at in each]
        yield Network(f"{subnet}.1", found)


@contextmanager
def _machine(name: str, bridge: str, address: str) -> Iterator[Machine]:
    inside = ["ip", "netns", "exec", name]
    run("ip", "netns", "add", name)
    try:
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", name, "master", bridge)
        run("ip", "link", "set", name, "up")
        run(*inside, "ip", "link", "set", "lo", "up")
        run(*inside, "ip", "addr", "add", f"{address}/24", "dev", "eth0")
        run(*inside, "ip", "link", "set", "eth0", "up")
        yield Machine(inside)
    finally:
        run("ip", "netns", "del", name)


def run(*command: str) -> None:
    subprocess.run(command, check=True)
