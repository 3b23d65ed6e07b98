"""The graph of services as a picture for a terminal, and in Graphviz' language."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text

BAR_CELLS = 12
WARN, BAD = 0.01, 0.05  # error rates from which a line is yellow, and red
Edge = dict[str, Any]
Graph = dict[str, Any]  # as /v1/mesh/graph answers


@dataclass(slots=True)
class Line:
    """One line of the picture: a service, calls to one, or a part of those calls."""

    text: str
    rates: dict[str, Any] | None = None
    share: float = 0.0  # of the busiest edge, 0 to 1
    style: str = ""


@dataclass(slots=True)
class _Walk:
    """From who is called by nobody, along the calls; a service is unfolded once."""

    services: dict[str, dict[str, Any]]
    outgoing: dict[str, list[Edge]]
    busiest: float
    seen: set[str] = field(default_factory=set)

    def service(self, name: str) -> Iterator[Line]:
        yield Line(f"{name}{_up(self.services.get(name))}", style="bold")
        yield from self.below(name, "")

    def below(self, name: str, prefix: str) -> Iterator[Line]:
        if name in self.seen:
            return
        self.seen.add(name)
        edges = self.outgoing.get(name, [])
        for at, edge in enumerate(edges, 1):
            last = at == len(edges)
            yield from self._edge(
                edge, prefix + ("└─▶ " if last else "├─▶ "), prefix + ("    " if last else "│   ")
            )

    def _edge(self, edge: Edge, prefix: str, inner: str) -> Iterator[Line]:
        name = edge["Destination"]
        again = "  ↑" if name in self.seen and self.outgoing.get(name) else ""
        up = _up(self.services.get(name))
        yield Line(f"{prefix}{name}{up}{again}", edge, edge["RequestsPerSecond"] / self.busiest)
        yield from self._parts(edge, inner)
        yield from self.below(name, inner)

    def _parts(self, edge: Edge, prefix: str) -> Iterator[Line]:
        """Where more than one set of instances took the calls, or one that has a name."""
        targets = edge["Targets"]
        if len(targets) < 2 and not any(target["Subset"] for target in targets):
            return
        for target in targets:
            share = target["Requests"] / edge["Requests"] if edge["Requests"] else 0.0
            name = target["Subset"] or target["Target"].rsplit(".", 3)[0] or "(no target)"
            yield Line(f"{prefix}∙ {name}  {share:.0%}", target, style="dim")


def _up(service: dict[str, Any] | None) -> str:
    if not service or not service["Instances"]:
        return ""
    up, of = service["Passing"], service["Instances"]
    return f"  {up}/{of} up" if up < of else f"  ×{of}"


def lines(graph: Graph) -> list[Line]:
    """All services, each with what it calls beneath it."""
    outgoing: dict[str, list[Edge]] = {}
    for edge in graph["Edges"]:
        outgoing.setdefault(edge["Source"], []).append(edge)
    for edges in outgoing.values():
        edges.sort(key=lambda edge: -edge["RequestsPerSecond"])
    services = {service["Name"]: service for service in graph["Services"]}
    busiest = max((edge["RequestsPerSecond"] for edge in graph["Edges"]), default=0.0) or 1.0
    walk = _Walk(services, outgoing, busiest)
    called = {edge["Destination"] for edge in graph["Edges"]}
    callers = [name for name in services if name in outgoing and name not in called]
    found = [line for name in callers for line in walk.service(name)]
    circular = [name for name in outgoing if name not in walk.seen]
    for name in circular:  # of services that call each other in a circle, nobody is first
        if name not in walk.seen:
            found += walk.service(name)
    idle = [name for name in services if name not in outgoing and name not in called]
    if idle:
        found.append(Line(f"no calls: {', '.join(idle)}", style="dim"))
    return found


def picture(graph: Graph) -> Table:
    """What `weft graph` shows."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    title = f"calls of the last {graph['Window']}"
    for name, right in (
        (title, False),
        ("requests", True),
        ("errors", True),
        ("p50", True),
        ("p99", True),
        ("", False),
    ):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for line in lines(graph):
        table.add_row(Text(line.text, style=line.style), *_cells(line))
    return table


def _cells(line: Line) -> tuple[Text, ...]:
    found = line.rates
    if found is None:
        return ()
    texts = (
        rate(found["RequestsPerSecond"]),
        share(found["ErrorRate"]),
        ms(found["P50Ms"]),
        ms(found["P99Ms"]),
    )
    styles = ("", severity(found["ErrorRate"]), "", "")
    bar = Text("▇" * round(line.share * BAR_CELLS), style=severity(found["ErrorRate"]))
    return (*(Text(text, style=style or line.style) for text, style in zip(texts, styles, strict=True)), bar)


def severity(error_rate: float) -> str:
    """Colour of an error rate; the number stands beside it."""
    return "red" if error_rate >= BAD else "yellow" if error_rate >= WARN else "green"


def rate(per_second: float) -> str:
    return f"{per_second / 1000:.1f}k/s" if per_second >= 1000 else f"{per_second:.1f}/s"


def share(part: float) -> str:
    """As percent, with as many digits as tell it from none."""
    return "0 %" if not part else f"{part * 100:.2f} %" if part < 0.01 else f"{part * 100:.1f} %"


def ms(value: float) -> str:
    return (
        f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"
    )


def dot(graph: Graph) -> str:
    """A digraph for Graphviz: `weft graph --format dot | dot -Tsvg`."""
    parts = ["digraph mesh {", "  rankdir=LR;", '  node [shape=box, style=rounded, fontname="sans-serif"];']
    for service in graph["Services"]:
        parts.append(f"  {_quoted(service['Name'])} [label={_quoted(service['Name'] + _up(service))}];")
    busiest = max((edge["RequestsPerSecond"] for edge in graph["Edges"]), default=0.0) or 1.0
    for edge in graph["Edges"]:
        label = (
            f"{rate(edge['RequestsPerSecond'])}\\n{share(edge['ErrorRate'])} errors\\np99 {ms(edge['P99Ms'])}"
        )
        width = 1 + 4 * edge["RequestsPerSecond"] / busiest
        colour = {"green": "black", "yellow": "orange", "red": "red"}[severity(edge["ErrorRate"])]
        ends = f"{_quoted(edge['Source'])} -> {_quoted(edge['Destination'])}"
        parts.append(f'  {ends} [label="{label}", penwidth={width:.1f}, color={colour}];')
    return "\n".join((*parts, "}"))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
