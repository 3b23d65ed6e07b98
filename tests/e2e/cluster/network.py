"""Where the servers of a test cluster live: a network namespace each, or all on loopback.

With namespaces every two servers have a wire of their own (a bridge of two ports in the namespace of the
test), and the test has one to each server. So servers can be cut off from each other, silently and pair by
pair, while clients still reach both sides. Needs the rights for `unshare -n`; nothing outside is touched.
"""

import os
import subprocess
import sys
from collections.abc import Collection
from itertools import combinations
from typing import Protocol

from tests.support.processes import free_port

INSIDE = "WEFT_TEST_NAMESPACE"
"""Set in the environment of a test that runs in a namespace of its own."""

_PORTS = {"server": 8300, "agent": 8301, "http": 8500, "https": 8501, "grpc": 8502}


class Network(Protocol):
    """Servers are known by number, from 0."""

    cuts: bool  # whether `cut` works here

    def host(self, number: int) -> str: ...

    def ports(self, number: int) -> dict[str, int]: ...

    def prefix(self, number: int) -> list[str]:
        """What a command line begins with so that it runs where the server lives."""

    def cut(self, number: int, others: Collection[int]) -> None:
        """No packet passes between the server and these others."""

    def heal(self) -> None: ...

    def close(self) -> None: ...


class Loopback:
    """All on 127.0.0.1, each on ports of its own."""

    cuts = False

    def __init__(self) -> None:
        self._ports: dict[int, dict[str, int]] = {}

    def host(self, number: int) -> str:
        return "127.0.0.1"

    def ports(self, number: int) -> dict[str, int]:
        if number not in self._ports:
            self._ports[number] = {kind: free_port() for kind in _PORTS}
        return self._ports[number]

    def prefix(self, number: int) -> list[str]:
        return []

    def cut(self, number: int, others: Collection[int]) -> None:
        raise AssertionError("servers on loopback cannot be cut off from each other")

    def heal(self) -> None:
        pass

    def close(self) -> None:
        pass


class Namespaces:
    """For `count` servers. Only inside a namespace of the test's own: see `enter`."""

    cuts = True

    def __init__(self, count: int) -> None:
        self._holders = [self._hold() for _ in range(count)]
        self._cut: set[str] = set()
        _ip("link", "set", "lo", "up")
        _ip("addr", "add", "10.77.0.254/32", "dev", "lo")
        for number in range(count):
            self._inside(number, "link", "set", "lo", "up")
            self._inside(number, "addr", "add", f"{self.host(number)}/32", "dev", "lo")
            self._wire_to_test(number)
        for pair in combinations(range(count), 2):
            self._wire_between(*pair)

    def _hold(self) -> subprocess.Popen[bytes]:
        """A process that keeps a namespace alive while servers in it come and go."""
        holder = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE
        )
        assert holder.stdout
        holder.stdout.readline()
        return holder

    def _wire_to_test(self, number: int) -> None:
        ours, theirs = f"t{number}", "test"
        _ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", self._pid(number))
        _ip("link", "set", ours, "up")
        _ip("route", "add", self.host(number), "dev", ours, "src", "10.77.0.254")
        self._inside(number, "link", "set", theirs, "up")
        self._inside(number, "route", "add", "10.77.0.254", "dev", theirs, "src", self.host(number))

    def _wire_between(self, one: int, other: int) -> None:
        bridge = f"b{one}-{other}"
        _ip("link", "add", bridge, "type", "bridge")
        _ip("link", "set", bridge, "up")
        for here, there in ((one, other), (other, one)):
            port, end = self._port(here, there), f"to{there}"
            _ip("link", "add", port, "type", "veth", "peer", "name", end, "netns", self._pid(here))
            _ip("link", "set", port, "master", bridge, "up")
            self._inside(here, "link", "set", end, "up")
            self._inside(here, "route", "add", self.host(there), "dev", end, "src", self.host(here))

    def _port(self, here: int, there: int) -> str:
        return f"p{here}-{there}"

    def _pid(self, number: int) -> str:
        return str(self._holders[number].pid)

    def _inside(self, number: int, *arguments: str) -> None:
        _run([*self.prefix(number), "ip", *arguments])

    def host(self, number: int) -> str:
        return f"10.77.0.{number + 1}"

    def ports(self, number: int) -> dict[str, int]:
        return _PORTS

    def prefix(self, number: int) -> list[str]:
        return ["nsenter", "-t", self._pid(number), "-n", "--"]

    def cut(self, number: int, others: Collection[int]) -> None:
        for other in others:
            port = self._port(number, other)
            _ip("link", "set", port, "nomaster")
            self._cut.add(port)

    def heal(self) -> None:
        for port in self._cut:
            one, other = sorted(map(int, port[1:].split("-")))
            _ip("link", "set", port, "master", f"b{one}-{other}")
        self._cut.clear()

    def close(self) -> None:
        for holder in self._holders:
            holder.kill()
            holder.wait()
            if holder.stdout:
                holder.stdout.close()


def network(count: int) -> Network:
    """The best that is to be had: namespaces when this process is in one of its own."""
    return Namespaces(count) if os.environ.get(INSIDE) else Loopback()


def command_inside() -> list[str]:
    """What a command line begins with to run in a new namespace; empty where that is not allowed."""
    probe = "ip link add one type veth peer name two && ip link add three type bridge && unshare -n true"
    for way in (["unshare", "-n"], ["unshare", "-r", "-n"]):
        try:
            done = subprocess.run([*way, "sh", "-c", probe], capture_output=True, timeout=30, check=False)
        except OSError:
            return []
        if done.returncode == 0:
            return way
    return []


def enter() -> None:
    """Runs this program again in a namespace of its own, where that is allowed. Returns where it is not."""
    if os.environ.get(INSIDE):
        return
    if way := command_inside():
        command = [*way, sys.executable, *sys.orig_argv[1:]]
        os.execvpe(command[0], command, {**os.environ, INSIDE: "1"})


def _ip(*arguments: str) -> None:
    _run(["ip", *arguments])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
