"""Whole processes for the end-to-end tests."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.mesh import HOST, Member, Mesh
from tests.support.processes import Processes, free_port, wait_for_port


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Ends, at the end of the run, everything started through it."""
    with Processes(tmp_path_factory.mktemp("logs")) as running:
        yield running


@pytest.fixture(scope="session")
def matrix_app(processes: Processes) -> str:
    """The address of a matrix application that no mesh knows."""
    port = free_port()
    child = processes.start_python("matrix", "tests.support.matrix_app", "--listen", f"{HOST}:{port}")
    wait_for_port(child, port)
    return f"{HOST}:{port}"


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """One registry for all tests that leave it alive. Each adds services under names of its own."""
    folder = tmp_path_factory.mktemp("mesh")
    running = Mesh(folder, "--data-dir", str(folder / "data"))
    yield running
    assert running.close() == [], "every process ends with 0 on SIGTERM"


@dataclass(frozen=True)
class Pair:
    """A client's sidecar and an application's, with an intention that allows the one to call the other."""

    client: Member
    server: Member

    @property
    def target(self) -> str:
        return self.client.to(self.server.service)


def new_pair(mesh: Mesh) -> Pair:
    server = mesh.add("matrix")
    client = mesh.add("client", upstreams=["matrix"], app_port=free_port())
    mesh.registry.intend("client", "matrix", "allow")
    mesh.wait(server, client)
    return Pair(client, server)


def new_vault(mesh: Mesh) -> Member:
    """A service whose application is a tripwire of the test's own."""
    member = mesh.add("vault", app_port=free_port())
    mesh.registry.intend("client", "vault", "allow")
    mesh.wait(member)
    return member


@pytest.fixture(scope="session")
def pair(mesh: Mesh) -> Pair:
    """For tests that change nothing."""
    return new_pair(mesh)


@pytest.fixture(scope="session")
def vault(mesh: Mesh) -> Member:
    return new_vault(mesh)
