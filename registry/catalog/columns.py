"""Rows of one kind as columns of bytes, and back: what a snapshot is made of.

A run of rows is written column by column, so that what is done for every value is done in C: rows are taken
apart and put together by `attrgetter`, `zip` and `map`, and the bytes are MessagePack. A column is its
values; where they repeat, the distinct ones in order of appearance and an octet per row that says which. One
that holds nothing but the field's default is left out, so an older version reads what it can know, and one
that it does not know is refused. Within a value there is no such leeway: a field more in `Proxy`, say, needs
another SNAPSHOT_VERSION.

What repeats is found by equality and never by identity: equal states give equal bytes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from itertools import islice
from operator import attrgetter
from typing import Any, Generic, TypeVar, get_origin, get_type_hints

import msgspec

from ..errors import LogCorrupt
from .model import CheckDefinition, Indexes

ROWS_MAX = 128
"""Rows of a run: about half a millisecond of work. Never above 256: an octet says which value a row has."""

BYTES_MAX = 256 * 1024
"""A run that is longer is halved, down to one row."""

T = TypeVar("T")
Columns = list[list[Any]]


class Column(msgspec.Struct, Generic[T], array_like=True, frozen=True, omit_defaults=True):
    """`at` is empty where `values` has one for each row, or one for all of them."""

    values: list[T]
    at: bytes = b""


class Run(msgspec.Struct, forbid_unknown_fields=True):
    """Some rows of a table, as they are written."""

    table: str
    rows: int
    columns: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Converted:
    """A field of whose type MessagePack knows nothing: written as a `kind`."""

    kind: Any
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


SERIAL = Converted(
    bytes, lambda it: it.to_bytes((it.bit_length() + 7) // 8, "big"), lambda it: int.from_bytes(it, "big")
)
"""Serials have up to 160 bits, integers of MessagePack 64."""

_encoder = msgspec.msgpack.Encoder(order="deterministic")  # mappings by key
_decoder = msgspec.msgpack.Decoder(Run)


def read_run(record: bytes) -> Run:
    """Raises LogCorrupt."""
    try:
        return _decoder.decode(record)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _damaged(error) from error


class Shared:
    """Equal values as one object, over all runs of a snapshot: what `sharing` is for single rows."""

    def __init__(self) -> None:
        self._known: dict[Any, dict[Any, Any]] = {}

    def of(self, hint: Any, values: list[Any]) -> list[Any]:
        known = self._known.setdefault(hint, {})
        if get_origin(hint) is Mapping:
            return [known.setdefault(tuple(value.items()), value) for value in values]
        return list(map(known.setdefault, values, values))


class Kind:
    """One table's rows: its fields are those of the class `row`, whose annotations say what they hold.

    `take` makes the tuple of a row's fields, `unshared` are those whose values never repeat, `weigh` counts
    the octets of a row that may be large.
    """

    def __init__(
        self,
        table: str,
        row: Callable[..., Any],
        *,
        take: Callable[[Any], tuple[Any, ...]] | None = None,
        unshared: Iterable[str] = (),
        converted: Mapping[str, Converted] | None = None,
        rows_max: int = ROWS_MAX,
        weigh: Callable[[Any], int] | None = None,
    ) -> None:
        self.table = table
        self._rows_max = rows_max
        self._weigh = weigh
        self._hints: dict[str, Any] = get_type_hints(row)
        self.names = tuple(self._hints)
        self._take = take or attrgetter(*self.names)
        self._defaults = _defaults(row)
        self._converted = converted or {}
        self._shared = {name for name, hint in self._hints.items() if _repeats(hint)} - set(unshared)
        kinds = {name: it.kind for name, it in self._converted.items()}
        optional: Any = [
            (name, Column[kinds.get(name, hint)] | None, None)  # type: ignore[misc]
            for name, hint in self._hints.items()
        ]
        shape = msgspec.defstruct(f"{table}_columns", optional, forbid_unknown_fields=True)
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(shape)

    # Writing

    def runs(self, rows: Iterable[Any]) -> Iterator[bytes]:
        """Records of the rows, in order; each takes half a millisecond or so."""
        for part in self._parts(rows):
            yield from self._run(part)

    def _parts(self, rows: Iterable[Any]) -> Iterator[list[Any]]:
        left = iter(rows)
        while part := list(islice(left, self._rows_max)):
            if self._weigh and sum(map(self._weigh, part)) > BYTES_MAX:
                yield from ([row] for row in part)  # else they would be written again for each halving
            else:
                yield part

    def _run(self, rows: list[Any]) -> Iterator[bytes]:
        record = self._write(rows)
        if len(record) <= BYTES_MAX or len(rows) == 1:
            yield record
            return
        half = len(rows) // 2
        yield from self._run(rows[:half])
        yield from self._run(rows[half:])

    def _write(self, rows: list[Any]) -> bytes:
        taken = zip(*map(self._take, rows), strict=True)
        columns: dict[str, Column[Any]] = {}
        for (name, hint), values in zip(self._hints.items(), taken, strict=True):
            column = _column(values, hint)
            if len(column.values) == 1 and not column.at and self._is_default(name, column.values[0]):
                continue
            if it := self._converted.get(name):
                column = Column(list(map(it.write, column.values)), column.at)
            columns[name] = column
        return _encoder.encode({"table": self.table, "rows": len(rows), "columns": columns})

    def _is_default(self, name: str, value: Any) -> bool:
        return name in self._defaults and bool(self._defaults[name] == value)

    # Reading

    def read(self, run: Run, shared: Shared) -> Columns:
        """The columns of a run, one value per row in each. Raises LogCorrupt."""
        if not 1 <= run.rows <= 256:
            raise LogCorrupt(f"the snapshot holds a run of {run.rows} rows; restore a backup")
        try:
            found = self._decoder.decode(run.columns)
            return [self._column(name, getattr(found, name), run.rows, shared) for name in self._hints]
        except (msgspec.MsgspecError, UnicodeDecodeError, LookupError, ValueError) as error:
            raise _damaged(f"{self.table}: {error}") from error

    def _column(self, name: str, column: Column[Any] | None, rows: int, shared: Shared) -> list[Any]:
        if column is None:
            return [self._defaults[name]] * rows
        values = column.values
        if it := self._converted.get(name):
            values = list(map(it.read, values))
        if name in self._shared:
            values = shared.of(self._hints[name], values)
        if column.at:
            values = list(map(values.__getitem__, column.at))
        elif len(values) == 1:
            values *= rows
        if len(values) != rows:
            raise ValueError(f"{name} has {len(values)} values for {rows} rows")
        return values


def _column(values: tuple[Any, ...], hint: Any) -> Column[Any]:
    distinct, at = _distinct(values, hint)
    if len(distinct) == 1:
        return Column(distinct)
    if len(distinct) > len(values) // 2:
        return Column(list(values))
    return Column(distinct, bytes(at()))


def _distinct(values: tuple[Any, ...], hint: Any) -> tuple[list[Any], Callable[[], Iterable[int]]]:
    """The distinct values in order of appearance; and for each value, which of them it is."""
    if hint in _CHEAP:
        first = dict.fromkeys(values)
        return list(first), lambda: map({it: at for at, it in enumerate(first)}.__getitem__, values)
    # What is dear to hash is hashed once per object: rows have equal values in common.
    ids = tuple(map(id, values))
    numbers: dict[Any, int] = {}
    distinct: list[Any] = []
    where: dict[int, int] = {}
    for each, value in dict(zip(ids, values, strict=True)).items():
        where[each] = numbers.setdefault(_hashable(value), len(numbers))
        if len(numbers) > len(distinct):
            distinct.append(value)
    return distinct, lambda: map(where.__getitem__, ids)


_CHEAP = (str, int, bool, bytes, Indexes)


def _hashable(value: Any) -> Any:
    return tuple(value.items()) if isinstance(value, Mapping) else value


def _repeats(hint: Any) -> bool:
    return hint in (str, CheckDefinition, Indexes) or get_origin(hint) in (tuple, Mapping)


def _defaults(row: Any) -> dict[str, Any]:
    if not is_dataclass(row):
        return dict(getattr(row, "_field_defaults", {}))
    found = {it.name: it.default for it in fields(row) if it.default is not MISSING}
    return found | {it.name: it.default_factory() for it in fields(row) if it.default_factory is not MISSING}


def _damaged(what: object) -> LogCorrupt:
    return LogCorrupt(f"the snapshot holds a record that does not decode ({what}); restore a backup")
