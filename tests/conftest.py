"""What holds for every test: hypothesis profiles, and programs that a test needs."""

import os

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.support import peers

# Their assertions, too, say what they compared.
pytest.register_assert_rewrite("tests.support.grpc_matrix", "tests.support.raw_h2")

# `quick` finds the same on every run, so that a red build stays red; `deep` searches.
settings.register_profile(
    "quick",
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "deep", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# Processes that tests start take a free port for DNS, as they are told to for everything else.
os.environ.setdefault("WEFT_DNS_PORT", "0")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write golden transcripts as they are today")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("peer"):
        for program in marker.args:
            peers.require(program)


@pytest.hookimpl(trylast=True)  # once fixtures have put back what they changed
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Logs that go where this test's output went would break every test after it."""
    if getattr(structlog.get_config()["logger_factory"], "_file", None) is not None:
        structlog.reset_defaults()
        pytest.fail(f"{item.nodeid} leaves logging configured: run what does so in a process of its own")
