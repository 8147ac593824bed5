"""Two machines' networks on one machine: namespaces of Linux, and a cable between them."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

ADDRESSES = ("10.17.0.1", "10.17.0.2")
PORT = "cable"  # the name of the network interface in each namespace


@dataclass(frozen=True)
class Network:
    """One end of the cable: what runs `inside` reaches the other end and nothing else."""

    name: str
    address: str

    @property
    def inside(self) -> tuple[str, ...]:
        """What a command line begins with to be run there."""
        return ("ip", "netns", "exec", self.name)

    def cut_off(self) -> None:
        """Take this end's link down: packets are lost, and no connection is told."""
        _ip("-n", self.name, "link", "set", PORT, "down")


@contextmanager
def two_networks() -> Iterator[tuple[Network, Network]]:
    """Two namespaces of their own, removed at last; the test is skipped where none can be made."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    prefix = f"sweep-{secrets.token_hex(4)}"
    first, second = (
        Network(f"{prefix}-{number}", address) for number, address in enumerate(ADDRESSES)
    )
    made: list[Network] = []
    try:
        try:
            for network in (first, second):
                _ip("netns", "add", network.name)
                made.append(network)
            _connect(first, second)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces can be made here: {error.stderr.strip()}")
        yield first, second
    finally:
        for network in made:  # the cable goes with them
            _ip("netns", "delete", network.name)


def _connect(first: Network, second: Network) -> None:
    """Join the two by a pair of virtual Ethernet devices, and bring everything up."""
    cable = ("link", "add", PORT, "type", "veth", "peer", "name", PORT, "netns", second.name)
    _ip("-n", first.name, *cable)
    for network in (first, second):
        _ip("-n", network.name, "addr", "add", f"{network.address}/24", "dev", PORT)
        _ip("-n", network.name, "link", "set", "lo", "up")
        _ip("-n", network.name, "link", "set", PORT, "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=30)
