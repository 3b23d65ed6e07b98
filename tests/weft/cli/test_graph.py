"""The picture of the mesh: everybody in it once, the busiest first."""

import io
import json
from typing import Any

from rich.console import Console

from tests.support.dev import running_dev
from weft.cli import run
from weft.cli.graph_view import dot, lines, ms, picture, rate, share


def edge(source: str, destination: str, requests: int = 30, error_rate: float = 0.0, **targets: int) -> Any:
    def rates(count: int) -> dict[str, Any]:
        return {
            "Requests": count,
            "RequestsPerSecond": count / 30,
            "ErrorRate": error_rate,
            "P50Ms": 1.5,
            "P99Ms": 12.0,
        }

    parts = [
        {"Target": f"{subset}.{destination}.default.default.dc1", "Subset": subset, **rates(count)}
        for subset, count in targets.items()
    ]
    return {"Source": source, "Destination": destination, "Targets": parts, **rates(requests)}


def graph(*edges: Any, idle: tuple[str, ...] = (), down: tuple[str, ...] = ()) -> Any:
    names = sorted({name for it in edges for name in (it["Source"], it["Destination"])} | set(idle))
    services = [{"Name": name, "Instances": 2, "Passing": 1 if name in down else 2} for name in names]
    return {"Window": "30s", "Services": services, "Edges": list(edges)}


def texts(document: Any) -> list[str]:
    return [line.text for line in lines(document)]


def test_callers_have_what_they_call_beneath_them_the_busiest_first() -> None:
    found = texts(
        graph(edge("web", "stock", 3), edge("web", "orders"), edge("orders", "ledger"), down=("stock",))
    )
    assert found == [
        "web  ×2",
        "├─▶ orders  ×2",
        "│   └─▶ ledger  ×2",
        "└─▶ stock  1/2 up",
    ]


def test_a_service_is_unfolded_once() -> None:
    found = texts(graph(edge("a", "c"), edge("b", "c"), edge("c", "d")))
    assert found == ["a  ×2", "└─▶ c  ×2", "    └─▶ d  ×2", "b  ×2", "└─▶ c  ×2  ↑"]


def test_services_that_call_each_other_in_a_circle_are_there() -> None:
    assert texts(graph(edge("a", "b"), edge("b", "a"))) == ["a  ×2", "└─▶ b  ×2", "    └─▶ a  ×2  ↑"]


def test_a_split_shows_its_parts() -> None:
    found = texts(graph(edge("web", "orders", 100, v1=95, v2=5)))
    assert found == ["web  ×2", "└─▶ orders  ×2", "    ∙ v1  95%", "    ∙ v2  5%"]


def test_services_without_calls_are_named() -> None:
    assert texts(graph(idle=("a", "b"))) == ["no calls: a, b"]


def test_the_picture_has_numbers() -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(picture(graph(edge("web", "orders", 300, 0.021))))
    (line,) = [line for line in out.getvalue().splitlines() if "orders" in line]
    assert line.split() == ["└─▶", "orders", "×2", "10.0/s", "2.1", "%", "1.5", "ms", "12.0", "ms", "▇" * 12]


def test_numbers_are_for_people() -> None:
    assert [rate(0.5), rate(12345)] == ["0.5/s", "12.3k/s"]
    assert [share(0), share(0.0004), share(0.5)] == ["0 %", "0.04 %", "50.0 %"]
    assert [ms(1.234), ms(250.4), ms(1234)] == ["1.2 ms", "250 ms", "1.23 s"]


def test_dot_quotes_names() -> None:
    found = dot(graph(edge('a"b', "c", error_rate=0.2)))
    assert '"a\\"b" -> "c" [label="1.0/s\\n20.0 % errors\\np99 12.0 ms"' in found
    assert "color=red" in found
    assert found.count("{") == found.count("}") == 1


def test_the_verb_asks_a_registry(capsys: Any) -> None:
    with running_dev("--node-name", "n1") as dev:
        definition = {"Name": "web", "Port": 1, "Connect": {"SidecarService": {}}}
        dev.ok("PUT", "/v1/agent/service/register", definition)
        assert run(["graph", "--http-addr", dev.http]) == 0
        assert "no calls: web" in capsys.readouterr().out
        assert run(["graph", "--format", "json", "--http-addr", dev.http]) == 0
        assert json.loads(capsys.readouterr().out)["Edges"] == []
        assert run(["graph", "--format", "dot", "--http-addr", dev.http]) == 0
        assert capsys.readouterr().out.startswith("digraph")
        assert run(["graph", "--window", "5m", "--http-addr", dev.http]) == 1
        assert "1s to 60s" in capsys.readouterr().err
