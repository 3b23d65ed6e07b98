"""The HTTP API, as commands call it: one request, one answer, one clear line when it fails."""

import http.client
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import click
import orjson

from ..errors import ConfigError, Unavailable, UsageError, WeftError

ADDRESS_DEFAULT = "127.0.0.1:8500"
ADDRESS_VARIABLES = ("WEFT_HTTP_ADDR", "CONSUL_HTTP_ADDR")
TIMEOUT_S = 30.0
ANSWER_BYTES_MAX = 64 * 1024 * 1024  # a catalog of 100,000 instances; above it something else answers
F = TypeVar("F", bound=Callable[..., Any])


class Refused(UsageError):
    """Expected. The registry answered, and not with 200."""

    exit_code = 1

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"the registry refused ({status}): {text or 'no reason given'}")
        self.status = status


class Api:
    """Calls one registry."""

    def __init__(self, address: str) -> None:
        self._address = address
        parts = urlsplit(address if "://" in address else f"http://{address}")
        try:
            port = parts.port or 8500
        except ValueError:
            port = 0
        if parts.scheme != "http" or not parts.hostname or not port:
            raise ConfigError(f"--http-addr {address!r}: write host:port or http://host:port")
        self._host, self._port = parts.hostname, port

    def get(self, path: str, **query: str | tuple[str, ...]) -> Any:
        return self.call("GET", path, query)

    def call(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: object = None
    ) -> Any:
        """The JSON of the answer, None for an empty one. Raises Refused, Unavailable."""
        target = quote(path) + (f"?{urlencode(query, doseq=True)}" if query else "")
        data = None if body is None else orjson.dumps(body)
        status, answer = self._exchange(method, target, data)
        if status != 200:
            raise Refused(status, answer.decode(errors="replace").strip()[:500])
        return orjson.loads(answer) if answer else None

    def _exchange(self, method: str, target: str, data: bytes | None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        try:
            connection.request(method, target, body=data)
            answer = connection.getresponse()
            return answer.status, answer.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"no registry answers at {self._address} ({error}): start one with `weft dev`, "
                "or name it with --http-addr"
            ) from error
        finally:
            connection.close()


def takes_address(function: F) -> F:
    """Adds `--http-addr`, given to the command as `api`."""

    def make(_context: click.Context, _option: click.Parameter, value: str | None) -> Api:
        try:
            return Api(value or _from_environment() or ADDRESS_DEFAULT)
        except WeftError as error:
            raise click.UsageError(str(error)) from None

    return click.option(
        "--http-addr",
        "api",
        callback=make,
        metavar="HOST:PORT",
        help=f"The registry's HTTP API.  [env: {', '.join(ADDRESS_VARIABLES)}; default: {ADDRESS_DEFAULT}]",
    )(function)


def _from_environment() -> str:
    return next((value for name in ADDRESS_VARIABLES if (value := os.environ.get(name))), "")
