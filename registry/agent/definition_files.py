"""Sans-IO. Files that define services and checks of this machine, in HCL or JSON as Consul writes them.

    service { name = "web"  port = 80  check { ... } }      services = [{...}, {...}]
    check { name = "disk"  ttl = "60s" }                     checks = [{...}]

The bodies are those of the HTTP API, read by the same code. Other keys that a file of Consul's agent may have
are left aside and named; what Consul would not know either is refused, as a misspelt key is.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import orjson

from weft.errors import UsageError
from weft.hcl import Value, loads

from ..catalog.feature_level import SERVER_SERVICE
from ..consul_keys import flatten, sorted_out
from .check_definition import CheckSpec, read_check
from .errors import InvalidDefinition
from .fields import read_whole
from .service_definition import Home, ServiceSpec, parse_service

KEYS = ("service", "services", "check", "checks")
SUFFIXES = (".hcl", ".json")
_LISTS = ("checks", "upstreams")
"""Fields that are lists: HCL has one block of them as an object, and several as a list."""
_OPAQUE = ("config", "Config", "meta", "Meta")  # whose keys are data
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Defined:
    """A service, the file that defines it, and the token that it is to be registered with ("": none)."""

    spec: ServiceSpec
    file: str
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Definitions:
    """What all files say together. `left_aside` are lines about keys without effect."""

    services: tuple[Defined, ...] = ()
    checks: tuple[CheckSpec, ...] = ()
    left_aside: tuple[str, ...] = ()


def read_definitions(files: Iterable[tuple[str, str]], home: Home) -> Definitions:
    """`files` are names and contents. Raises InvalidDefinition, which names the file and the field."""
    services: dict[str, Defined] = {}
    checks: dict[str, CheckSpec] = {}
    left_aside: list[str] = []
    for file, text in files:
        ours, others = split(loads(text, file))
        if settings := flatten(others):
            sorted_out(settings, file)
            left_aside.append(f"{file}: without effect here: {', '.join(sorted(settings))}")
        for found in _services(file, ours, home):
            _put(services, found.spec.service.id, found, f'{file}: service "{found.spec.service.id[:100]}"')
        for spec in _checks(file, ours):
            _put(checks, spec.id or spec.name, spec, f'{file}: check "{(spec.id or spec.name)[:100]}"')
    return Definitions(tuple(services.values()), tuple(checks.values()), tuple(left_aside))


def split(document: dict[str, Value]) -> tuple[dict[str, Value], dict[str, Value]]:
    """The keys of a document that define services and checks, and all others."""
    ours = {key: value for key, value in document.items() if key in KEYS}
    return ours, {key: value for key, value in document.items() if key not in KEYS}


def _put(rows: dict[str, T], key: str, row: T, where: str) -> None:
    if key in rows:
        raise InvalidDefinition(f"{where}: is defined twice: give one of them another id")
    rows[key] = row


def _services(file: str, document: dict[str, Value], home: Home) -> Iterator[Defined]:
    for body in _bodies(file, document, "service", "services"):
        where = f"{file}: service {_named(body)}"
        token = body.pop("token", None) or body.pop("Token", None) or ""
        if not isinstance(token, str):
            raise InvalidDefinition(f"{where}: token must be a string")
        text = orjson.dumps(_listed(body))
        spec = _refused(where, partial(parse_service, text, home))
        if spec.service.id == SERVER_SERVICE:
            raise InvalidDefinition(f"{where}: the id is the registry's own; give another")
        yield Defined(spec, file, token)


def _checks(file: str, document: dict[str, Value]) -> Iterator[CheckSpec]:
    for body in _bodies(file, document, "check", "checks"):
        where = f"{file}: check {_named(body)}"
        spec = _refused(where, partial(read_whole, _listed(body), "", read_check))
        if spec is None or not spec.name:
            raise InvalidDefinition(f"{where}: Missing check name")
        yield spec


def _bodies(file: str, document: dict[str, Value], *keys: str) -> Iterator[dict[str, Value]]:
    """One block, several, or a list of them."""
    for key in keys:
        given = document.get(key)
        for body in given if isinstance(given, list) else [] if given is None else [given]:
            if not isinstance(body, dict):
                raise InvalidDefinition(f"{file}: {key} must be an object, or a list of objects")
            yield dict(body)


def _named(body: dict[str, Value]) -> str:
    """How a person finds it in the file."""
    for key in ("id", "ID", "name", "Name"):
        if isinstance(found := body.get(key), str) and found:
            return f'"{found[:100]}"'
    return "without a name"


def _refused(where: str, read: Callable[[], T]) -> T:
    """Raises InvalidDefinition with the place before whatever is wrong."""
    try:
        return read()
    except UsageError as error:
        raise InvalidDefinition(f"{where}: {error}") from None


def _listed(value: Value) -> Value:
    """With lists where fields are lists; a repeated `check` block is `checks`."""
    if isinstance(value, list):
        return [_listed(it) for it in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, Value] = {}
    for key, inner in value.items():
        plural = "checks" if key == "check" and isinstance(inner, list) else key
        as_list = plural in _LISTS and isinstance(inner, dict)
        kept = inner if key in _OPAQUE else _listed(inner)
        made[plural] = [kept] if as_list else kept
    return made
