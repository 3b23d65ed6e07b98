"""What rows have, as far as filters may ask: types of fields, and what each can be asked."""

from collections.abc import Mapping
from dataclasses import dataclass

EQUALS, IN, EMPTY, MATCHES = "equals", "in", "empty", "matches"


@dataclass(frozen=True, slots=True)
class Text:
    operations = frozenset((EQUALS, IN, EMPTY, MATCHES))
    zero = ""


@dataclass(frozen=True, slots=True)
class Number:
    operations = frozenset((EQUALS,))
    zero = 0


@dataclass(frozen=True, slots=True)
class Flag:
    operations = frozenset((EQUALS,))
    zero = False


@dataclass(frozen=True, slots=True)
class Texts:
    """A list of strings; `in` asks for a member."""

    operations = frozenset((IN, EMPTY))
    zero = ()


@dataclass(frozen=True, slots=True, eq=False)
class Struct:
    """An object with known fields, by their names in JSON. Hashed by identity: there are few, for ever."""

    fields: Mapping[str, "Field"]
    operations = frozenset[str]()
    zero = None


@dataclass(frozen=True, slots=True)
class ListOf:
    """Objects; a match on a field of them holds when it holds for one."""

    item: "Field"
    operations = frozenset((EMPTY,))
    zero = ()


@dataclass(frozen=True, slots=True)
class MapOf:
    """Values by keys that are data; `in` asks for a key."""

    item: "Field"
    operations = frozenset((IN, EMPTY))
    zero = None


Field = Text | Number | Flag | Texts | Struct | ListOf | MapOf

TEXT, NUMBER, FLAG, TEXTS = Text(), Number(), Flag(), Texts()
TEXT_MAP = MapOf(TEXT)


def struct(*, text: str = "", number: str = "", flag: str = "", **fields: Field) -> Struct:
    """Fields of the plain types by name, separated by spaces; the others by keyword."""
    found: dict[str, Field] = dict.fromkeys(text.split(), TEXT)
    found |= dict.fromkeys(number.split(), NUMBER)
    found |= dict.fromkeys(flag.split(), FLAG)
    return Struct(found | fields)
