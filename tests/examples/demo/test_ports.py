import socket

import pytest

from examples.demo.narrator import Narrator
from examples.demo.ports import HOST, Ports


def test_a_taken_port_is_replaced_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    ports = Ports(Narrator())
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        taken = other.getsockname()[1]
        got = ports.take(taken, "web")
    assert got != taken
    assert f"port {taken} (web) is taken, using {got}" in capsys.readouterr().out


def test_a_free_port_is_kept_and_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        free = probe.getsockname()[1]
    ports = Ports(Narrator())
    assert ports.take(free, "web") == free
    assert capsys.readouterr().out == ""
    assert ports.take(free, "orders") != free
