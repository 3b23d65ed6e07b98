"""The registry's figures for people: two tables on the terminal and in docs/benchmarks.md."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

Json = dict[str, Any]

_COLUMNS = ("", "side", "per second", "p50 ms", "p99 ms", "servers' CPU µs each")
_TITLES = {
    "write_1": "durable writes, 1 writer",
    "write_64": "durable writes, 64 writers",
    "write_64_batched": "the same, in batches",
    "read_1": "linearizable reads, 1 reader",
    "read_64": "linearizable reads, 64 readers",
    "read_index_64": "read index alone, 64 readers",
    "stale_read_64": "stale reads, 64 readers",
}
_SIDES = {"weft": "Weft", "etcd": "etcd"}
_SCALE_TITLES = {
    "memory_bytes_per_instance": "memory per instance, bytes",
    "registrations_per_s_batched": "instances registered per second, a node's 20 in one write",
    "write_ms": "one registration, durable, ms",
    "write_cpu_us": "CPU of one registration, µs",
    "woken_per_registration": "readers woken by one registration",
    "wake_up_p50_ms": "from the registration to its reader's answer, p50 ms",
    "wake_up_p99_ms": "the same, p99 ms",
    "busy_wake_up_p50_ms": "the same with 100 changes/s while snapshots are written, p50 ms",
    "busy_wake_up_p99_ms": "the same, p99 ms",
    "restore_command_s": "a restore, applied on the running server, s",
    "all_readers_answered_s": "until all its readers had a new answer, s",
    "snapshot_s": "snapshot, s",
    "snapshot_cpu_s": "the same, s of CPU",
    "snapshot_mb": "snapshot, MB",
    "restore_s": "snapshot read back, s",
    "restore_cpu_s": "the same, s of CPU",
    "collection_ms": "full garbage collection, ms",
}
_PHASES = {
    "fill": "while instances are registered",
    "wake_ups": "while readers are woken",
    "busy": "with 100 changes/s while snapshots are written",
    "restore_command": "while a restore is applied and wakes all readers",
    "snapshot": "while a snapshot is encoded",
    "restore": "while one is restored",
}


def rows(found: Json) -> Iterator[tuple[str, ...]]:
    """Of the consensus part: a row per case and side, and one with the ratios Weft/etcd."""
    for case, title in _TITLES.items():
        sides = found.get(case, {})
        for side in (side for side in _SIDES if side in sides):
            it = sides[side]
            figures = (
                f"{it['per_s']:,.0f}",
                f"{it['p50_ms']:.2f}",
                f"{it['p99_ms']:.2f}",
                f"{it['cpu_us']:,.0f}",
            )
            yield title, _SIDES[side], *figures
            title = ""
        if ratio := sides.get("ratio"):
            rounds = ratio["per_s_per_round"]
            times = [f"{ratio[key]:.2f}×" for key in ("per_s", "p50_ms", "p99_ms", "cpu_us")]
            times[0] += f" (rounds {min(rounds):.2f}–{max(rounds):.2f})"
            yield "", "Weft/etcd", *times


def scale_rows(found: Json) -> Iterator[tuple[str, str]]:
    for key, title in _SCALE_TITLES.items():
        yield title, f"{found[key]:,}"
    late, spent = found["longest_stall_ms"], found["longest_stall_cpu_ms"]
    for phase, title in _PHASES.items():
        yield f"longest stall of the event loop {title}, ms (of CPU)", f"{late[phase]} ({spent[phase]})"


def print_tables(found: Json) -> None:
    console = Console(width=130)
    table = Table(*_COLUMNS, title="Three servers each, median of rounds")
    for row in rows(found):
        table.add_row(*row, end_section=row[1] == "Weft/etcd")
    console.print(table)
    if scale := found.get("scale"):
        table = Table("", "", title=_scale_title(scale))
        for pair in scale_rows(scale):
            table.add_row(*pair)
        console.print(table)


def _scale_title(scale: Json) -> str:
    return (
        f"One server: {scale['instances']:,} instances of {scale['services']:,} services, "
        f"{scale['readers']:,} blocking queries parked"
    )


def markdown(found: Json, about: Json) -> str:
    """Both tables, and how they were measured."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|---" * len(_COLUMNS) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows(found)]
    if scale := found.get("scale"):
        lines += ["", f"| {_scale_title(scale)} |  |", "|---|---|"]
        lines += [f"| {title} | {value} |" for title, value in scale_rows(scale)]
    lines += [
        "",
        f"{about['date']}; {about['cpu']}, {about['cores']} cores, Linux {about['kernel']}; "
        f"CPython {about['python']}, {about['etcd']}; {about['rounds']} rounds; `{about['command']}`.",
    ]
    return "\n".join(lines)
