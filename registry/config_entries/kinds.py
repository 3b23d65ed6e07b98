"""The table of kinds, and entries from bytes and back."""

from functools import lru_cache

import orjson

from . import checks
from .canary import ServiceCanary
from .entry import Entry
from .errors import InvalidEntry, UnreadableEntry
from .inbound import ServiceFaults, ServiceRateLimits
from .mesh_wide import Egress, ExportedServices, JwtProvider, Mesh
from .routing import ServiceResolver, ServiceRouter, ServiceSplitter
from .schema import canonical, canonical_json, read, show
from .service_defaults import ProxyDefaults, ServiceDefaults
from .service_intentions import ServiceIntentions

ENTRY_BYTES_MAX = 256 * 1024  # of one entry; below what the API takes, and far below a record of the log

KINDS: dict[str, type[Entry]] = {
    kind.KIND: kind
    for kind in (
        ServiceDefaults,
        ProxyDefaults,
        ServiceResolver,
        ServiceSplitter,
        ServiceRouter,
        ServiceIntentions,
        Mesh,
        JwtProvider,
        ExportedServices,
        ServiceFaults,
        ServiceRateLimits,
        ServiceCanary,
        Egress,
    )
}

NOT_YET = frozenset(
    (
        *("ingress-gateway", "terminating-gateway", "api-gateway", "http-route", "tcp-route"),
        *("inline-certificate", "file-system-certificate"),
        *("sameness-group", "control-plane-request-limit", "rate-limit"),
    )
)
"""Kinds of Consul's that are refused by name."""


def kind_of(name: str) -> type[Entry]:
    """Raises UnreadableEntry."""
    if name in KINDS:
        return KINDS[name]
    if name in NOT_YET:
        raise UnreadableEntry("Kind", f"{name!r} is not supported yet")
    raise UnreadableEntry("", f"invalid config entry kind: {name[:64]}")


def parse(body: bytes) -> Entry:
    """An entry from JSON. Raises InvalidEntry."""
    if len(body) > ENTRY_BYTES_MAX:
        raise InvalidEntry("", f"the entry is over {ENTRY_BYTES_MAX} bytes")
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnreadableEntry("", str(error)) from None
    return entry_of(raw)


def entry_of(raw: object) -> Entry:
    """An entry from a JSON value. Raises InvalidEntry."""
    if not isinstance(raw, dict):
        raise UnreadableEntry("", "the body must be a JSON object")
    found = {canonical(str(key)): value for key, value in raw.items()}
    kind, name = found.get("kind"), found.get("name")
    if not isinstance(kind, str) or not kind:
        raise UnreadableEntry("", "Payload does not contain a kind/Kind key at the top level")
    made = kind_of(kind)
    if not name and made.ONLY_NAME:
        raw = {
            **{key: value for key, value in raw.items() if canonical(str(key)) != "name"},
            "Name": made.ONLY_NAME,
        }
    entry = read(made, raw, "")
    _check_name(made, entry.name)
    return entry


def _check_name(kind: type[Entry], name: str) -> None:
    if kind.ONLY_NAME:
        if name != kind.ONLY_NAME:
            raise InvalidEntry("Name", f"invalid name ({name[:64]!r}), only {kind.ONLY_NAME!r} is supported")
    elif not name:
        raise InvalidEntry("Name", "is missing: the service that it is about")
    elif kind is ServiceIntentions:
        checks.service_or_any(name, "Name")
    else:
        checks.service_name(name, "Name")


def encoded(entry: Entry) -> bytes:
    """Canonical JSON: equal entries are equal bytes."""
    return canonical_json(show(entry))


@lru_cache(4096)
def decoded(body: bytes) -> Entry:
    """An entry from what `encoded` gave, made once for each content. Raises InvalidEntry."""
    return parse(body)
