"""The kinds of fields that entries are made of. Each function makes a dataclass field with its reader."""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from weft.durations import InvalidDuration, format_duration, parse_duration_ns
from weft.regex import InvalidPattern, compile_pattern

from .errors import InvalidEntry, UnreadableEntry
from .schema import Spec, field, read, show

T = TypeVar("T")
TEXT_CHARS_MAX = 256  # names, paths and header values
ITEMS_MAX = 64  # of one list; routes and sources have bounds of their own
DAY_MS = 24 * 60 * 60 * 1000
JSON_DEPTH_MAX = 16  # of an opaque object
OPAQUE_ITEMS_MAX = 1024  # in all of an opaque object
INTEGER_MAX = 2**31 - 1

Check = Callable[[str, str], None]  # value and path; raises InvalidEntry


def text(
    name: str,
    doc: str,
    *,
    choices: tuple[str, ...] = (),
    most: int = TEXT_CHARS_MAX,
    check: Check | None = None,
    what: str = "text",
) -> Any:
    """A string; "" where absent. `choices` are compared without case and stored as they stand here."""
    known = {choice.lower(): choice for choice in choices}

    def take(value: object, path: str) -> str:
        if not isinstance(value, str):
            raise UnreadableEntry(path, "must be a string")
        if len(value) > most:
            raise InvalidEntry(path, f"is longer than {most} characters")
        if known and value:
            if value.lower() not in known:
                raise InvalidEntry(path, f"{value[:50]!r} is none of {', '.join(choices)}")
            value = known[value.lower()]
        if check and value:
            check(value, path)
        return value

    return field(Spec(name, " \\| ".join(f"`{it}`" for it in choices) or what, doc, take), "")


def pattern(name: str, doc: str) -> Any:
    """A regular expression of RE2; "" where absent."""
    return text(name, doc, most=1024, check=_is_pattern, what="RE2")


def _is_pattern(value: str, path: str) -> None:
    try:
        compile_pattern(value)
    except InvalidPattern as error:
        raise InvalidEntry(path, str(error)) from None


def flag(name: str, doc: str) -> Any:
    """False where absent."""

    def take(value: object, path: str) -> bool:
        if not isinstance(value, bool):
            raise UnreadableEntry(path, "must be true or false")
        return value

    return field(Spec(name, "boolean", doc, take), False)


def integer(name: str, doc: str, least: int = 0, most: int = INTEGER_MAX, *, default: int = 0) -> Any:
    def take(value: object, path: str) -> int:
        return _integer(value, path, least, most)

    return field(Spec(name, f"{least} to {most}", doc, take), default)


def optional_integer(name: str, doc: str, least: int = 0, most: int = INTEGER_MAX) -> Any:
    """As `integer`, but 0 differs from absent, which is None."""

    def take(value: object, path: str) -> int:
        return _integer(value, path, least, most)

    return field(Spec(name, f"{least} to {most}", doc, take, is_shown_empty=False), None)


def _integer(value: object, path: str, least: int, most: int) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # HCL and Go clients write every number as a float
    if not isinstance(value, int) or isinstance(value, bool):
        raise UnreadableEntry(path, "must be an integer")
    if not least <= value <= most:
        raise InvalidEntry(path, f"must be from {least} to {most}, not {str(value)[:40]}")
    return value


def number(name: str, doc: str, least: float, most: float, *, default: float = 0.0) -> Any:
    def take(value: object, path: str) -> float:
        return _number(value, path, least, most)

    return field(Spec(name, f"{least:g} to {most:g}", doc, take, _plain), default)


def _number(value: object, path: str, least: float, most: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UnreadableEntry(path, "must be a number")
    if not math.isfinite(value) or not least <= value <= most:
        raise InvalidEntry(path, f"must be from {least:g} to {most:g}, not {str(value)[:40]}")
    return float(value)


def _plain(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def duration(name: str, doc: str, most_ms: int = DAY_MS) -> Any:
    """Milliseconds; 0 where absent. A Go duration, or an integer of nanoseconds."""

    def take(value: object, path: str) -> int:
        if value == "":
            return 0
        nanoseconds = _nanoseconds(value, path)
        if not 0 <= nanoseconds <= most_ms * 1_000_000:
            raise InvalidEntry(path, f"must be from 0s to {format_duration(most_ms / 1000)}")
        return -(-nanoseconds // 1_000_000)

    most = format_duration(most_ms / 1000)
    return field(Spec(name, f"duration, to {most}", doc, take, lambda ms: format_duration(ms / 1000)), 0)


def _nanoseconds(value: object, path: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        if isinstance(value, str) and len(value) <= 40:
            return parse_duration_ns(value)
    except InvalidDuration:
        pass
    raise UnreadableEntry(path, "must be a duration such as 30s")


def texts(
    name: str, doc: str, *, choices: tuple[str, ...] = (), most: int = ITEMS_MAX, check: Check | None = None
) -> Any:
    """A tuple of strings that are not empty."""

    def take(value: object, path: str) -> tuple[str, ...]:
        items = _items(value, path, most)
        for at, item in enumerate(items):
            _check_text(item, f"{path}[{at}]", choices, check)
        return tuple(items)

    what = (
        f"list of {' | '.join(f'`{it}`' for it in choices)}".replace("|", "\\|")
        if choices
        else "list of text"
    )
    return field(Spec(name, what, doc, take, list), ())


def _check_text(item: object, path: str, choices: tuple[str, ...], check: Check | None) -> None:
    if not isinstance(item, str):
        raise UnreadableEntry(path, "must be a string")
    if not 0 < len(item) <= TEXT_CHARS_MAX:
        raise InvalidEntry(path, f"must have 1 to {TEXT_CHARS_MAX} characters")
    if choices and item not in choices:
        raise InvalidEntry(path, f"{item[:50]!r} is none of {', '.join(choices)}")
    if check:
        check(item, path)


def integers(name: str, doc: str, least: int, most: int) -> Any:
    """A tuple of integers."""

    def take(value: object, path: str) -> tuple[int, ...]:
        items = _items(value, path, ITEMS_MAX)
        return tuple(_integer(item, f"{path}[{at}]", least, most) for at, item in enumerate(items))

    return field(Spec(name, f"list of {least} to {most}", doc, take, list), ())


def numbers(name: str, doc: str, least: float, most: float) -> Any:
    """A tuple of numbers."""

    def take(value: object, path: str) -> tuple[float, ...]:
        items = _items(value, path, ITEMS_MAX)
        return tuple(_number(item, f"{path}[{at}]", least, most) for at, item in enumerate(items))

    def give(value: tuple[float, ...]) -> list[object]:
        return [_plain(item) for item in value]

    return field(Spec(name, f"list of {least:g} to {most:g}", doc, take, give), ())


def _items(value: object, path: str, most: int) -> list[Any]:
    if isinstance(value, dict):
        value = [value]  # HCL writes a list of one as a block
    if not isinstance(value, list):
        raise UnreadableEntry(path, "must be a list")
    if len(value) > most:
        raise InvalidEntry(path, f"has {len(value)} items, the most is {most}")
    return value


def nested(name: str, kind: type[T], doc: str, *, is_shown_empty: bool = False) -> Any:
    """An object of a class; None where absent."""

    def take(value: object, path: str) -> T | None:
        return None if is_shown_empty and value == {} else read(kind, value, path)

    return field(Spec(name, "object", doc, take, show, kind, is_shown_empty), None)


def objects(name: str, kind: type[T], doc: str, *, most: int = ITEMS_MAX) -> Any:
    """A tuple of objects of a class."""

    def take(value: object, path: str) -> tuple[T, ...]:
        items = _items(value, path, most)
        return tuple(read(kind, item, f"{path}[{at}]") for at, item in enumerate(items))

    def give(value: tuple[T, ...]) -> list[object]:
        return [show(item) for item in value]

    return field(Spec(name, f"list of objects, to {most}", doc, take, give, kind), ())


def keyed(name: str, kind: type[T], doc: str, *, check: Check, most: int = ITEMS_MAX) -> Any:
    """Objects of a class by names that `check` judges."""

    def take(value: object, path: str) -> dict[str, T]:
        found: dict[str, T] = {}
        for key, item in sorted(_entries(value, path, most).items()):
            check(key, path)
            found[key] = read(kind, item, f'{path}["{key}"]')
        return found

    def give(value: Mapping[str, T]) -> dict[str, object]:
        return {key: show(item) for key, item in value.items()}

    return field(Spec(name, f"objects by name, to {most}", doc, take, give, kind), factory=dict)


def _entries(value: object, path: str, most: int) -> dict[str, Any]:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UnreadableEntry(path, "must be an object")
    if len(value) > most:
        raise InvalidEntry(path, f"has {len(value)} entries, the most is {most}")
    return value


def text_map(
    name: str, doc: str, *, check: Callable[[str, str, str], None] | None = None, most: int = ITEMS_MAX
) -> Any:
    """Strings by keys that are data. `check` takes key, value and path."""

    def take(value: object, path: str) -> dict[str, str]:
        found = dict(sorted(_entries(value, path, most).items()))
        for key, item in found.items():
            if not isinstance(item, str):
                raise UnreadableEntry(f"{path}.{key[:100]}", "must be a string")
            if len(key) > TEXT_CHARS_MAX or len(item) > 2 * TEXT_CHARS_MAX:
                raise InvalidEntry(f"{path}.{key[:100]}", f"is longer than {2 * TEXT_CHARS_MAX} characters")
            if check:
                check(key, item, path)
        return found

    return field(Spec(name, "text by name", doc, take, dict), factory=dict)


def opaque(name: str, doc: str) -> Any:
    """A JSON object that is kept as it is, in the order of its keys."""

    def take(value: object, path: str) -> dict[str, object]:
        found = _entries(value, path, OPAQUE_ITEMS_MAX)
        _count(found, path, JSON_DEPTH_MAX, [OPAQUE_ITEMS_MAX])
        return found

    return field(Spec(name, "object", doc, take), factory=dict)


def _count(value: object, path: str, depth: int, left: list[int]) -> None:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    left[0] -= len(children)
    if left[0] < 0 or (children and not depth):
        raise InvalidEntry(path, f"has more than {OPAQUE_ITEMS_MAX} values, or nests over {JSON_DEPTH_MAX}")
    for child in children:
        _count(child, path, depth - 1, left)


def unsupported(name: str, why: str) -> Any:
    """A field of Consul's that says nothing here: empty values are taken, others refused with the reason."""

    def take(value: object, path: str) -> None:
        if not _is_empty(value):
            raise InvalidEntry(path, f"is not supported: {why}")

    return field(Spec(name, "", why, take, is_supported=False), None)


def _is_empty(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_empty, value.values()))
    if isinstance(value, list):
        return all(map(_is_empty, value))
    return not value


def tenancy(name: str) -> Any:
    """A tenant's name: `default` only."""

    def take(value: object, path: str) -> None:
        if value not in ("", "default"):
            raise InvalidEntry(path, "is not supported: leave it out or write default")

    return field(Spec(name, "", "`default` only.", take, is_supported=False), None)


def derived(name: str, doc: str) -> Any:
    """What answers carry and writers may send back: it says nothing."""
    return field(Spec(name, "", doc, lambda value, path: None, is_supported=False), None)
