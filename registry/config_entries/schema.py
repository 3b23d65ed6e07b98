"""Reads, shows and explains objects by what their classes say of each field.

Keys are Consul's: `PathPrefix`, `pathprefix` and `path_prefix` are the same field. What a class does not
have is refused: a misspelt setting must not pass for the default. `show` gives back what was read, in the
names of the class and without what is at its default, so equal settings are equal bytes.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeVar, cast

from .errors import InvalidEntry, UnreadableEntry

T = TypeVar("T")
_SPEC = "spec"


@dataclass(frozen=True, slots=True)
class Spec:
    """One field. `read` takes a JSON value and the field's path; `show` gives the JSON value back."""

    name: str  # in JSON
    what: str  # its type and bounds, for people
    doc: str
    read: Callable[[Any, str], Any]
    show: Callable[[Any], object] = lambda value: value
    inner: type | None = None  # class of the objects in it
    is_shown_empty: bool = False
    is_supported: bool = True


def field(spec: Spec, zero: object = None, factory: Callable[[], object] | None = None) -> Any:
    """The dataclass field of a spec."""
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata={_SPEC: spec})
    return dataclasses.field(default=zero, metadata={_SPEC: spec})


def canonical(key: str) -> str:
    return key.replace("_", "").lower()


class Known(NamedTuple):
    """A field of a class."""

    attribute: str
    spec: Spec
    default: object


@cache
def fields_of(kind: Any) -> dict[str, Known]:
    """Canonical key -> field of a class, in its order."""
    found = (it for it in dataclasses.fields(kind) if _SPEC in it.metadata)
    return {
        canonical(it.metadata[_SPEC].name): Known(it.name, it.metadata[_SPEC], _default(it)) for it in found
    }


def _default(it: "dataclasses.Field[Any]") -> object:
    return it.default_factory() if callable(it.default_factory) else it.default


def read(kind: type[T], raw: object, path: str, *, is_lenient: bool = False, **given: Any) -> T:
    """An object of the class; `given` are attributes that are not read. Raises InvalidEntry.

    A lenient one passes over keys that the class does not have: the opaque `Config` of registrations, which
    other programs read too.
    """
    if isinstance(raw, list) and len(raw) == 1:
        raw = raw[0]  # HCL writes a block as a list of one
    if not isinstance(raw, dict):
        raise UnreadableEntry(path, "must be an object")
    specs, values, seen = fields_of(cast(Any, kind)), dict(given), set[str]()
    for key, value in raw.items():
        known = specs.get(canonical(str(key)))
        if is_lenient and (known is None or not known.spec.is_supported):
            continue
        if known is None:
            raise UnreadableEntry("", f'invalid config key "{_join(path, str(key))[:200]}"')
        attribute, spec, _ = known
        if attribute in seen:
            raise UnreadableEntry(_join(path, spec.name), "is written twice")
        seen.add(attribute)
        if value is not None:
            values[attribute] = spec.read(value, _join(path, spec.name))
    made = kind(**values)
    check = getattr(made, "check", None)
    if check is not None:
        check(path)
    return made


def show(value: object) -> dict[str, object]:
    """The JSON object of what `read` made."""
    told: dict[str, object] = {spec.name: spec.show(found) for spec, found in _told(value)}
    empty = (it.spec.name for it in fields_of(cast(Any, type(value))).values() if it.spec.is_shown_empty)
    return {name: {} for name in empty} | told


def canonical_json(value: object) -> bytes:
    """Equal values are equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _told(value: object) -> Iterator[tuple[Spec, Any]]:
    for attribute, spec, default in fields_of(cast(Any, type(value))).values():
        found = getattr(value, attribute)
        if found != default:
            yield spec, found


def _join(path: str, name: str) -> str:
    return ".".join(filter(None, (path, name)))


def refuse_unless(condition: object, path: str, name: str, reason: str) -> None:
    """Raises InvalidEntry of a field within an object, unless the condition holds."""
    if not condition:
        raise InvalidEntry(_join(path, name), reason)
