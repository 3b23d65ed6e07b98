"""The HTTP API, as commands call it: one request, one answer, one clear line when it fails."""

import http.client
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import click
import orjson

from ..errors import ConfigError, Unavailable, UsageError, WeftError
from . import logins

ADDRESS_DEFAULT = "127.0.0.1:8500"
ADDRESS_VARIABLES = ("WEFT_HTTP_ADDR", "CONSUL_HTTP_ADDR")
TOKEN_VARIABLES = ("WEFT_HTTP_TOKEN", "CONSUL_HTTP_TOKEN")
TOKEN_FILE_VARIABLES = ("WEFT_HTTP_TOKEN_FILE", "CONSUL_HTTP_TOKEN_FILE")
ROOT_VARIABLES = ("WEFT_CACERT", "CONSUL_CACERT")
DEFAULT_PORTS = {"http": 8500, "https": 8501}
TIMEOUT_S = 30.0
TRANSFER_TIMEOUT_S = 600.0  # a large snapshot is answered once all of it is in force
ANSWER_BYTES_MAX = 64 * 1024 * 1024  # a catalog of 100,000 instances; above it something else answers
LINE_BYTES_MAX = 128 * 1024
BLOCK_BYTES = 256 * 1024
F = TypeVar("F", bound=Callable[..., Any])


class Refused(UsageError):
    """Expected. The registry answered, and not with 200."""

    exit_code = 1

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"the registry refused ({status}): {text or 'no reason given'}")
        self.status = status
        self.text = text


class Api:
    """Calls one registry. `token` goes with each call; `ca_file` is the root that an https one must show."""

    def __init__(
        self, address: str, token: str = "", ca_file: str = "", *, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._address = address
        self._ca_file = ca_file
        self._timeout_s = timeout_s
        parts = urlsplit(address if "://" in address else f"http://{address}")
        try:
            port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
        except ValueError:
            port = 0
        if not parts.hostname or not port or parts.scheme not in DEFAULT_PORTS:
            raise ConfigError(
                f"--http-addr {address!r}: write host:port, http://host:port or https://host:port"
            )
        self._scheme, self._host, self._port = parts.scheme, parts.hostname, port
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self.registry = f"{self._scheme}://{shown}:{port}"
        self.token = token or logins.token_for(self.registry)
        self._headers = {"X-Consul-Token": self.token} if self.token else {}

    def as_token(self, token: str) -> "Api":
        """The same registry, asked with another token."""
        return Api(self._address, token, self._ca_file, timeout_s=self._timeout_s)

    def get(self, path: str, **query: str | tuple[str, ...]) -> Any:
        return self.call("GET", path, query)

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: object = None,
        *,
        raw: bytes | None = None,
    ) -> Any:
        """The JSON of the answer, None for an empty one. `raw` is a body that is no JSON.

        Raises Refused, Unavailable.
        """
        data = raw if body is None else orjson.dumps(body)
        with self._answer(method, _target(path, query), data) as answer:
            text = _checked(answer).read(ANSWER_BYTES_MAX)
        return orjson.loads(text) if text else None

    def download(self, path: str, query: Mapping[str, Any]) -> Iterator[bytes]:
        """The body of a GET in blocks. Raises Refused, and Unavailable where it breaks off."""
        with self._answer("GET", _target(path, query), None, TRANSFER_TIMEOUT_S) as answer:
            _checked(answer)
            while block := answer.read(BLOCK_BYTES):
                yield block

    def lines(self, path: str, query: Mapping[str, Any]) -> Iterator[bytes]:
        """The lines of an answer that goes on, as they come. Raises Refused, and Unavailable where it breaks
        off."""
        with self._answer("GET", _target(path, query), None) as answer:
            _checked(answer)
            while line := answer.readline(LINE_BYTES_MAX):
                yield line

    def upload(self, path: str, body: IO[bytes]) -> None:
        """PUTs a file. Raises Refused, Unavailable."""
        with self._answer("PUT", path, body, TRANSFER_TIMEOUT_S) as answer:
            _checked(answer)

    @contextmanager
    def _answer(
        self, method: str, target: str, body: bytes | IO[bytes] | None, timeout_s: float = 0.0
    ) -> Iterator[http.client.HTTPResponse]:
        connection = self._connection(timeout_s or self._timeout_s)
        try:
            connection.request(method, target, body=body, headers=self._headers)
            yield connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            raise Unavailable(
                f"what answers at {self._address} does not prove itself ({error.verify_message}): name the "
                "root of its certificate with --ca-file"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"no registry answers at {self._address} ({error}): start one with `weft dev` "
                "or `weft server`, or name it with --http-addr"
            ) from error
        finally:
            connection.close()

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._scheme == "http":
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            context = ssl.create_default_context(cafile=self._ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"--ca-file {self._ca_file}: cannot be used ({error}); give a PEM file"
            ) from error
        return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=context)


def _target(path: str, query: Mapping[str, Any] | None) -> str:
    return quote(path) + (f"?{urlencode(query, doseq=True)}" if query else "")


def _checked(answer: http.client.HTTPResponse) -> http.client.HTTPResponse:
    if answer.status != 200:
        text = answer.read(ANSWER_BYTES_MAX).decode(errors="replace").strip()[:500]
        raise Refused(answer.status, text)
    return answer


def takes_address(function: F) -> F:
    """Adds `--http-addr`, `--token`, `--token-file` and `--ca-file`, given to the command as `api`."""

    def make(context: click.Context, _option: click.Parameter, value: str | None) -> Api:
        try:
            address = value or _from_environment(ADDRESS_VARIABLES) or ADDRESS_DEFAULT
            root = context.meta.get("ca_file") or _from_environment(ROOT_VARIABLES)
            return Api(address, _token(context), root)
        except WeftError as error:
            raise click.UsageError(str(error)) from None

    options = (
        _remembered(
            "ca_file", "--ca-file", "FILE", "The root of the registry's https certificate.", ROOT_VARIABLES
        ),
        _remembered("token_file", "--token-file", "FILE", "Read the token from here.", TOKEN_FILE_VARIABLES),
        _remembered(
            "token", "--token", "TOKEN", "What `weft server` asks for; better in a file.", TOKEN_VARIABLES
        ),
        click.option(
            "--http-addr",
            "api",
            callback=make,
            metavar="HOST:PORT",
            help="The registry's HTTP API, or https://HOST:PORT.  "
            f"[env: {', '.join(ADDRESS_VARIABLES)}; default: {ADDRESS_DEFAULT}]",
        ),
    )
    for option in options:
        function = option(function)
    return function


def _remembered(
    name: str, flag: str, metavar: str, help_text: str, variables: tuple[str, ...]
) -> Callable[[F], F]:
    """An option that only `make` above reads."""

    def remember(context: click.Context, _option: click.Parameter, value: str | None) -> None:
        context.meta[name] = value or ""

    told = f"{help_text}  [env: {', '.join(variables)}]"
    return click.option(
        flag, callback=remember, expose_value=False, is_eager=True, metavar=metavar, help=told
    )


def from_environment(*, timeout_s: float = TIMEOUT_S) -> Api:
    """As a command without options has it. Raises ConfigError."""
    address = _from_environment(ADDRESS_VARIABLES) or ADDRESS_DEFAULT
    return Api(address, _given("", ""), _from_environment(ROOT_VARIABLES), timeout_s=timeout_s)


def _token(context: click.Context) -> str:
    """The flag, its file, then the same two of the environment. Raises ConfigError."""
    return _given(context.meta.get("token", ""), context.meta.get("token_file", ""))


def _given(token: str, file: str) -> str:
    path = "" if token else file
    if not token and not path:
        token = _from_environment(TOKEN_VARIABLES)
        path = "" if token else _from_environment(TOKEN_FILE_VARIABLES)
    return read_token(Path(path)) if path else token


def read_token(path: Path) -> str:
    """A token from a file that only its owner may read. Raises ConfigError."""
    from ..files import read_private

    return read_private(path, "token").decode("ascii", "replace").strip()


def _from_environment(names: tuple[str, ...]) -> str:
    return next((value for name in names if (value := os.environ.get(name))), "")
