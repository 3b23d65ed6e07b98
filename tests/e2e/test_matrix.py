"""gRPC of all four kinds behaves the same directly and through a pair of sidecars."""

import pytest

from tests.support.grpc_matrix import SCENARIOS, slow_application, slow_reader


@pytest.mark.parametrize("name", SCENARIOS)
async def test_direct(name: str, matrix_app: str) -> None:
    await SCENARIOS[name](matrix_app)


async def test_direct_slow_reader(matrix_app: str) -> None:
    await slow_reader(matrix_app)


async def test_direct_slow_application(matrix_app: str) -> None:
    await slow_application(matrix_app)
