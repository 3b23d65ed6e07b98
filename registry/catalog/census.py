"""How many rows of which table a snapshot holds."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice

from google.protobuf.message import DecodeError

from weft.pb.catalog.v1 import state_pb2 as pb

from ..errors import LogCorrupt


def count(records: Iterable[bytes]) -> dict[str, int]:
    """Table -> rows, tables in order of name. Raises LogCorrupt."""
    found: Counter[str] = Counter()
    try:
        for record in islice(records, 1, None):  # the first one is the head
            found[str(pb.SnapshotRow.FromString(record).WhichOneof("row"))] += 1
    except DecodeError as error:
        raise LogCorrupt(f"the snapshot holds a record that does not decode ({error})") from error
    return dict(sorted(found.items()))
