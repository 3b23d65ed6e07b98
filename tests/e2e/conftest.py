"""Whole processes for the end-to-end tests."""

from collections.abc import Iterator

import pytest

from tests.support.processes import Processes, free_port, wait_for_port


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Ends, at the end of the run, everything started through it."""
    with Processes(tmp_path_factory.mktemp("logs")) as running:
        yield running


@pytest.fixture(scope="session")
def matrix_app(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a running matrix application."""
    port = free_port()
    child = processes.start_python("matrix", "tests.support.matrix_app", "--listen", f"127.0.0.1:{port}")
    wait_for_port(child, port)
    return f"127.0.0.1:{port}"
