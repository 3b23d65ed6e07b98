"""Logs: one shape for both libraries, and no secrets in it."""

import errno
import io
import logging
from collections.abc import Iterator

import orjson
import pytest
import structlog

from weft import logs

SECRET = "s3cr3t-value"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_json_with_level_and_utc_time() -> None:
    out = io.StringIO()
    logs.configure("info", out)
    structlog.get_logger().info("service registered", service="orders", port=8080)
    (line,) = lines(out)
    assert (line["event"], line["level"], line["service"], line["port"]) == (
        "service registered",
        "info",
        "orders",
        8080,
    )
    assert str(line["timestamp"]).endswith("Z")


def test_the_level_is_a_threshold() -> None:
    out = io.StringIO()
    logs.configure("warning", out)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [line["event"] for line in lines(out)] == ["loud"]


def test_the_standard_librarys_loggers_take_the_same_shape() -> None:
    out = io.StringIO()
    logs.configure("info", out)
    logging.getLogger("aiohttp.server").error("bad request from %s", "127.0.0.1")
    (line,) = lines(out)
    assert (line["event"], line["logger"]) == ("bad request from 127.0.0.1", "aiohttp.server")


@pytest.mark.parametrize(
    "field", ["secret", "token", "x_token", "authorization", "credential", "cookie", "private_key", "key_pem"]
)
def test_what_is_named_like_a_secret_is_hidden(field: str) -> None:
    out = io.StringIO()
    logs.configure("info", out)
    structlog.get_logger().info("call", **{field: SECRET, "service": "orders"})
    assert SECRET not in out.getvalue()
    assert "orders" in out.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        f"GET /v1/agent/services?dc=dc1&token={SECRET}&pretty",
        f"GET /v1/kv/a?token={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----",
        f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}",
    ],
)
def test_trap_28_what_looks_like_a_secret_in_text_is_hidden(text: str) -> None:
    out = io.StringIO()
    logs.configure("info", out)
    structlog.get_logger().info(text, url=text)
    logging.getLogger("aiohttp.access").error(text)
    assert SECRET not in out.getvalue()
    assert out.getvalue().count(logs.REDACTED) == 3


@pytest.mark.parametrize("out", [io.StringIO(), Terminal()], ids=["json", "terminal"])
def test_tracebacks_show_no_local_variables(out: io.StringIO) -> None:
    logs.configure("info", out)
    hidden = SECRET
    try:
        raise ValueError(f"{len(hidden)} characters")
    except ValueError:
        structlog.get_logger().exception("it broke")
    assert "12 characters" in out.getvalue()
    assert "ValueError" in out.getvalue()
    assert SECRET not in out.getvalue()


def test_redaction_also_reads_exceptions() -> None:
    out = io.StringIO()
    logs.configure("info", out)
    try:
        raise ValueError(f"cannot fetch http://127.0.0.1/?token={SECRET}")
    except ValueError:
        structlog.get_logger().exception("it broke")
    assert SECRET not in out.getvalue()


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("out", [Full(), closed := io.StringIO()], ids=["full", "closed"])
def test_what_cannot_be_written_is_lost_and_ends_nothing(out: io.StringIO) -> None:
    logs.configure("info", out)
    if out is closed:
        out.close()
    structlog.get_logger().info("the disk is full")
    logging.getLogger("aiohttp.server").error("bad request")
