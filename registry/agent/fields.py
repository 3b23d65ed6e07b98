"""One JSON object of a request body, read field by field.

Keys are Consul's: `ServiceName`, `servicename` and `service_name` are the same field. Whatever is not
taken is unknown, and refused: a misspelt security setting must not pass for the default.
"""

from collections.abc import Callable
from typing import TypeVar

import orjson

from weft.durations import InvalidDuration, parse_duration_s

from .errors import Undecodable

T = TypeVar("T")
DEPTH_MAX = 16  # of nested objects and lists; definitions need 5
LIST_ITEMS_MAX = 1024  # tags, checks, upstreams of one definition
TEXT_CHARS_MAX = 8192  # a URL or a header value; names are bounded tighter by the catalog
INTEGER_MAX = 2**63 - 1


def decode_object(body: bytes) -> dict[str, object]:
    """The JSON object of a body. Raises Undecodable."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Undecodable(str(error)) from None
    if not isinstance(value, dict):
        raise Undecodable("the body must be a JSON object")
    _check_depth(value, DEPTH_MAX)
    return value


def _check_depth(value: object, left: int) -> None:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if children and not left:
        raise Undecodable(f"objects nest deeper than {DEPTH_MAX}")
    for child in children:
        _check_depth(child, left - 1)


def canonical(key: str) -> str:
    return key.replace("_", "").lower()


class Fields:
    """The fields of one object; `where` names it in messages. Every reader raises Undecodable."""

    def __init__(self, raw: object, where: str = "") -> None:
        if not isinstance(raw, dict):
            raise Undecodable(f"{where or 'the body'} must be an object")
        self._where = where
        self._raw: dict[str, object] = {}
        self._spelling: dict[str, str] = {}
        for key, value in raw.items():
            self._spelling[canonical(key)] = key
            self._raw[canonical(key)] = value

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._raw.get(canonical(name)) is not None

    def raw(self, name: str) -> object:
        """The value as JSON has it; None where absent or null."""
        return self._raw.pop(canonical(name), None)

    def path(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name

    def _take(self, name: str, kind: type[T], default: T, what: str) -> T:
        value = self.raw(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise Undecodable(f"{self.path(name)} must be {what}")
        return value

    def text(self, name: str, default: str = "") -> str:
        return _bounded(self._take(name, str, default, "a string"), self.path(name))

    def integer(self, name: str, default: int = 0) -> int:
        value = self._take(name, int, default, "an integer")
        if abs(value) > INTEGER_MAX:
            raise Undecodable(f"{self.path(name)} is out of range")
        return value

    def boolean(self, name: str, default: bool = False) -> bool:
        return self._take(name, bool, default, "true or false")

    def duration_s(self, name: str, default_s: float = 0.0) -> float:
        """Seconds, from a Go duration (`10s`) or an integer of nanoseconds."""
        value = self.raw(name)
        if value is None or value == "":
            return default_s
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= INTEGER_MAX:
            return value / 10**9
        if isinstance(value, str):
            try:
                return parse_duration_s(value)
            except InvalidDuration as error:
                raise Undecodable(f"{self.path(name)}: {error}") from None
        raise Undecodable(f"{self.path(name)} must be a duration such as 10s")

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        items = self._list(name)
        for item in items:
            if not isinstance(item, str):
                raise Undecodable(f"{self.path(name)} must be a list of strings")
            _bounded(item, self.path(name))
        return tuple(item for item in items if isinstance(item, str))

    def _list(self, name: str) -> list[object]:
        items: list[object] = self._take(name, list, [], "a list")
        if len(items) > LIST_ITEMS_MAX:
            raise Undecodable(f"{self.path(name)} has more than {LIST_ITEMS_MAX} items")
        return items

    def mapping(self, name: str) -> dict[str, object]:
        """An object whose keys are data."""
        value: dict[str, object] = self._take(name, dict, {}, "an object")
        if len(value) > LIST_ITEMS_MAX:
            raise Undecodable(f"{self.path(name)} has more than {LIST_ITEMS_MAX} entries")
        return value

    def text_mapping(self, name: str) -> dict[str, str]:
        """An object of strings, sorted by key."""
        pairs: dict[str, str] = {}
        for key, value in sorted(self.mapping(name).items()):
            if not isinstance(value, str):
                raise Undecodable(f"{self.path(name)}.{key[:100]} must be a string")
            pairs[key] = _bounded(value, self.path(name))
        return pairs

    def child(self, name: str, read: "Callable[[Fields], T]") -> T | None:
        """A nested object, read to its end; None where absent."""
        value = self.raw(name)
        return None if value is None else read_whole(value, self.path(name), read)

    def children(self, name: str, read: "Callable[[Fields], T]") -> tuple[T, ...]:
        """A list of objects."""
        items = self._list(name)
        return tuple(read_whole(item, f"{self.path(name)}[{n}]", read) for n, item in enumerate(items))

    def done(self) -> None:
        """Refuses what was not read; null counts as absent."""
        for key, value in self._raw.items():
            if value is not None:
                raise Undecodable(f'unknown field "{self.path(self._spelling[key])[:200]}"')


def read_whole(raw: object, where: str, read: Callable[[Fields], T]) -> T:
    """Reads an object with `read` and refuses what it left."""
    fields = Fields(raw, where)
    value = read(fields)
    fields.done()
    return value


def _bounded(text: str, path: str) -> str:
    if len(text) > TEXT_CHARS_MAX:
        raise Undecodable(f"{path} is longer than {TEXT_CHARS_MAX} characters")
    return text
