"""A canary while it is under way, for a terminal."""

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

BAR_CELLS = 40
HISTORY_LINES = 12
_STYLES = {"running": "cyan", "paused": "yellow", "promoted": "green"}  # else red
Row = dict[str, Any]


def picture(row: Row) -> Group:
    """Its weight as a bar, what is measured now, and what happened."""
    state = row.get("Status", {})
    phase, style = state.get("Phase", ""), _STYLES.get(state.get("Phase", ""), "red")
    head = Text.assemble(
        (f"{row['Name']} → {row['ServiceSubset']}  ", "bold"),
        (phase, style),
        f"  step {state.get('Step', 0)} of {len(row['Steps'])}",
    )
    return Group(head, _bar(row, style), _live(row), _history(state.get("History", [])))


def _bar(row: Row, style: str) -> Text:
    """Marks are the steps."""
    full = round(row["Weight"] / 100 * BAR_CELLS)
    marks = {max(1, round(step / 100 * BAR_CELLS)) - 1 for step in row["Steps"]}
    bar = Text()
    for cell in range(BAR_CELLS):
        if cell < full:
            bar.append("█", style)
        else:
            bar.append("┊" if cell in marks else "·", "dim")
    return bar.append(f"  {row['Weight']:g} %")


def _live(row: Row) -> Text:
    live = row.get("Live")
    if not live:
        return Text("")
    seen = (
        f"{live['Requests']} calls, {live['ErrorRate'] * 100:.2f} % failed, p99 {live['P99Ms']:.1f} ms"
        if live["Requests"]
        else "no calls yet"
    )
    return Text(f"{seen}; {live['Next']}")


def _history(events: list[Row]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for event in events[-HISTORY_LINES:]:
        at = event["Time"].partition("T")[2][:8]
        table.add_row(
            Text(at, "dim"), event["Event"], f"{event.get('Weight', 0):g} %", event.get("Reason", "")
        )
    return table
