"""grpcio on both sides of a pair of engines with mTLS between them, on uvloop and on asyncio's own loop."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from tests.support import grpc_matrix
from tests.support.processes import Processes, free_port, wait_for_port
from tests.support.switch import outbound_port, pair

HELD_MAX = 3 * 65_535  # two engines' shares of one stalled stream, and a little

SCENARIOS = [
    *(f"ends_well_with_metadata[{kind}]" for kind in grpc_matrix.KIND_NAMES),
    "fails_after_initial_metadata[bidi]",
    "is_cancelled_by_the_client[bidi]",
    "runs_out_of_time[unary]",
    "carries_16_mib[bidi]",
    "answers_trailers_only",
    "is_refused_while_it_still_sends",
    "a_thousand_streams_at_once",
]


@pytest.fixture(scope="module")
def app_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with Processes(tmp_path_factory.mktemp("logs")) as running:
        port = free_port()
        child = running.start_python("matrix", "tests.support.matrix_app", "--listen", f"127.0.0.1:{port}")
        wait_for_port(child, port)
        yield port


@pytest.fixture(params=["uvloop", "asyncio"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as running:
        yield running


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(runner: asyncio.Runner, app_port: int, name: str) -> None:
    async def run() -> None:
        async with pair(app_port) as (web, orders):
            await grpc_matrix.SCENARIOS[name](f"127.0.0.1:{outbound_port(web)}")
            assert (web.outbox.held, orders.outbox.held) == (0, 0)

    runner.run(run())


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_with_everything_on(app_port: int, name: str) -> None:
    """What a route and a target can ask for beside an instance, all of it."""

    async def run() -> None:
        async with pair(app_port, featured=True) as (web, orders):
            await grpc_matrix.SCENARIOS[name](f"127.0.0.1:{outbound_port(web)}")
            assert (web.outbox.held, orders.outbox.held) == (0, 0)
            assert web.outbound["orders"].pool.requests == 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as running:
        running.run(run())


def test_trap_15_a_slow_application_holds_the_caller_back(runner: asyncio.Runner, app_port: int) -> None:
    """Its counterpart, the slow reader, moves 96 MiB: tests/e2e has it."""

    async def run() -> None:
        async with pair(app_port) as (web, orders):

            def at_rest() -> None:
                assert web.outbox.held + orders.outbox.held <= HELD_MAX

            await grpc_matrix.slow_application(f"127.0.0.1:{outbound_port(web)}", at_rest)

    runner.run(run())


def test_the_matrix_is_all_there() -> None:
    assert set(SCENARIOS) <= set(grpc_matrix.SCENARIOS), Path(__file__).name
