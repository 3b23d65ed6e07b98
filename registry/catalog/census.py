"""How many rows of which table a snapshot holds."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice

from .columns import read_run


def count(records: Iterable[bytes]) -> dict[str, int]:
    """Table -> rows, tables in order of name. Raises LogCorrupt."""
    found: Counter[str] = Counter()
    for record in islice(records, 1, None):  # the first one is the head
        run = read_run(record)
        found[run.table] += run.rows
    return dict(sorted(found.items()))
