"""Figures for people: a table on the terminal, and the generated part of docs/benchmarks.md."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .errors import BenchError
from .workloads import WORKLOADS

Json = dict[str, Any]

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_COLUMNS = ("", "side", "CPU µs/request", "by hop", "p50 ms", "p99 ms", "requests/s", "RSS MB", "others' CPU")
_WIDTH = 130  # of the table, also where the output is not a terminal
_SIDES = {"weft": "Weft pair", "envoy": "Envoy pair", "direct": "no proxy"}


def rows(parts: Mapping[str, Json]) -> Iterator[tuple[str, ...]]:
    """One row per workload and side, and one with the ratios Weft/Envoy."""
    for name, found in parts.items():
        title = f"{name} {WORKLOADS[name].shape}"
        for side in (side for side in _SIDES if side in found):
            yield title, _SIDES[side], *_figures(found[side])
            title = ""
        if "ratio" in found:
            yield "", "Weft/Envoy", *_ratios(found["ratio"])


def _figures(side: Json) -> Iterator[str]:
    hops = side.get("hops", [])
    yield f"{side['cpu_us_per_request']:.1f}" if hops else ""
    yield " + ".join(f"{hop['cpu_us_per_request']:.1f}" for hop in hops)
    yield f"{side['p50_ms']:.2f}"
    yield f"{side['p99_ms']:.2f}"
    yield f"{side['rps']:,}"
    yield " + ".join(f"{hop['rss_mb']:.0f}" for hop in hops)
    yield f"{side['others_cpu_share']:.0%}" if "others_cpu_share" in side else ""


def _ratios(ratio: Json) -> Iterator[str]:
    per_round = ratio["cpu_per_round"]
    yield f"{ratio['cpu_us_per_request']:.2f}×"
    yield f"rounds {min(per_round):.2f}–{max(per_round):.2f}"
    for key in ("p50_ms", "p99_ms", "rps", "rss_mb"):
        yield f"{ratio[key]:.2f}×"
    yield ""


def print_table(parts: Mapping[str, Json]) -> None:
    table = Table(title="Pair of proxies with mTLS between, 100-byte messages, median of rounds")
    for column in _COLUMNS:
        table.add_column(column, no_wrap=True)
    for row in rows(parts):
        table.add_row(*row, end_section=row[1] == "Weft/Envoy")
    Console(width=_WIDTH).print(table)


def markdown(parts: Mapping[str, Json], about: Mapping[str, Json]) -> str:
    """The table, then one line per distinct way of measuring."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|---" * len(_COLUMNS) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows(parts)]
    lines.append("")
    by_run: dict[str, list[str]] = {}
    for name in parts:
        by_run.setdefault(measured(about.get(name, {})), []).append(name)
    lines += [f"{', '.join(names)}: {how}" for how, names in by_run.items()]
    return "\n".join(lines)


def measured(about: Json) -> str:
    """When, where and how, as a line."""
    if not about:
        return "measured by an older harness.\n"
    return (
        f"{about['date']}; {about['cpu']}, {about['cores']} cores, Linux {about['kernel']}; "
        f"CPython {about['python']}, {about['envoy']}; load from {about['load']}; "
        f"{about['rounds']} rounds; `{about['command']}`.\n"
    )


def update_page(part: str, text: str, page: Path = PAGE) -> None:
    """Replaces what stands between the marks of `part`. Raises BenchError if the page has no such marks."""
    begin, end = f"<!-- bench:{part} -->\n", f"<!-- /bench:{part} -->"
    try:
        whole = page.read_text()
    except OSError as error:
        raise BenchError(f"cannot read {page}: {error.strerror}") from None
    before, begin_found, rest = whole.partition(begin)
    _old, end_found, after = rest.partition(end)
    if not begin_found or not end_found:
        raise BenchError(f"{page} lacks the marks {begin.strip()} and {end}: restore them")
    page.write_text(f"{before}{begin}{text}\n{end}{after}")
