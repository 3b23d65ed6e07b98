"""The figures of the registry's API for people: tables on the terminal and in docs/benchmarks.md."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

Json = dict[str, Any]

_COLUMNS = ("", "servers", "per second", "p50 ms", "p99 ms", "servers' CPU µs each")
_TITLES = {
    "health_read_1": "health of a service of 10, 1 client",
    "health_read_64": "the same, 64 clients",
    "kv_read_64": "a key of 100 bytes, 64 clients",
    "kv_write_1": "a key written, durable, 1 client",
    "kv_write_64": "the same, 64 clients",
    "stale_health_read_3x64": "health, stale, 64 clients of each server",
}
SHARES = 100
"""A change touches the sidecars of one service of so many."""

_SIDES = {"one": "1", "three": "3"}


def rows(found: Json) -> Iterator[tuple[str, ...]]:
    for case, title in _TITLES.items():
        for side, shown in _SIDES.items():
            if it := found[side].get(case):
                figures = (f"{it['p50_ms']:.2f}", f"{it['p99_ms']:.2f}", f"{it['cpu_us']:,.0f}")
                yield title, shown, f"{it['per_s']:,.0f}", *figures


def single_rows(found: Json) -> Iterator[tuple[str, str]]:
    """Of one server."""
    parked, mesh = found["one"]["parked"], found["one"]["subscribed"]
    yield f"{parked['queries']:,} parked blocking queries: memory of each, KB", f"{parked['kb_per_query']}"
    yield "with 100 changes/s of what they watch, 10 woken by each: CPU, %", f"{parked['cpu_percent']}"
    yield "from the change sent to its answer, p50 / p99 ms", f"{parked['p50_ms']} / {parked['p99_ms']}"
    few = mesh["sidecars"] // SHARES
    for name, shown in (("ten", str(few)), ("all", "all")):
        it = mesh[name]
        what = f"a change that touches {shown} of {mesh['sidecars']:,} subscribed sidecars"
        yield f"{what}: sent to received, p50 / p99 ms", f"{it['p50_ms']:.1f} / {it['p99_ms']:.1f}"
        yield (
            "the same, until the last has it, p50 / p99 ms",
            f"{it['last_p50_ms']:.1f} / {it['last_p99_ms']:.1f}",
        )
        yield "the same, CPU of the server, ms", f"{it['cpu_ms_per_change']:.1f}"


def cluster_rows(found: Json) -> Iterator[tuple[str, str]]:
    """Of three."""
    if it := found["three"].get("policy"):
        what = "a policy changed at the leader: sent to in force on a server, p50 / p99 / longest ms"
        yield what, f"{it['p50_ms']} / {it['p99_ms']} / {it['longest_ms']}"


def print_tables(found: Json) -> None:
    console = Console(width=130)
    table = Table(*_COLUMNS, title="The HTTP API, median of rounds")
    for row in rows(found):
        table.add_row(*row)
    console.print(table)
    table = Table("", "", title="One server")
    for pair in single_rows(found):
        table.add_row(*pair)
    console.print(table)
    for title, value in cluster_rows(found):
        console.print(f"Three servers, {title}: {value}")


def markdown(found: Json, about: Json) -> str:
    """Both tables, and how they were measured."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|---" * len(_COLUMNS) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows(found)]
    lines += ["", "| One server |  |", "|---|---|"]
    lines += [f"| {title} | {value} |" for title, value in single_rows(found)]
    lines += [f"| Three servers: {title} | {value} |" for title, value in cluster_rows(found)]
    lines += [
        "",
        f"{about['date']}; {about['cpu']}, {about['cores']} cores, Linux {about['kernel']}; "
        f"CPython {about['python']}; {about['rounds']} rounds; `{about['command']}`.",
    ]
    return "\n".join(lines)
