"""`weft config`, against a real registry."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.dev import Dev, running_dev
from weft.cli import run

Weft = Callable[..., str]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "config"


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    with running_dev("--node-name", "n1") as found:
        yield found


@pytest.fixture
def weft(dev: Dev, capsys: pytest.CaptureFixture[str]) -> Weft:
    def call(*arguments: str, code: int = 0) -> str:
        assert run(["config", *arguments, "--http-addr", dev.http]) == code
        told = capsys.readouterr()
        return told.out if code == 0 else told.out + told.err

    return call


def test_entries_are_written_read_listed_and_deleted(weft: Weft) -> None:
    files = [str(EXAMPLES / f"{kind}.hcl") for kind in ("service-resolver", "service-splitter")]
    assert weft("write", *files) == (
        "Config entry written: service-resolver/orders\nConfig entry written: service-splitter/orders\n"
    )
    found = json.loads(weft("read", "--kind", "service-resolver", "--name", "orders"))
    assert found["DefaultSubset"] == "v1"
    assert "orders" in weft("list", "--kind", "service-splitter")
    assert "nothing" not in weft("list", "--kind", "service-splitter", "--filter", "Name == orders")
    index = str(found["ModifyIndex"])
    assert "another index" in weft("write", files[0], "--cas", code=1)
    weft("write", files[0], "--cas", "--modify-index", index)
    assert "does not have a subset" in weft(
        "delete", "--kind", "service-resolver", "--name", "orders", code=1
    )
    for kind in ("service-splitter", "service-resolver"):
        assert "deleted" in weft("delete", "--kind", kind, "--name", "orders")
    assert "no config entry" in weft("read", "--kind", "service-resolver", "--name", "orders", code=1)


def test_an_entry_comes_from_standard_input(weft: Weft, monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.TextIOWrapper(io.BytesIO(b'{"kind": "service-defaults", "name": "web", "protocol": "http"}'))
    monkeypatch.setattr("sys.stdin", text)
    assert weft("write", "-") == "Config entry written: service-defaults/web\n"


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ('Kind = "service-defaults"\nName = "web"\nProtokol = "http"', 1, 'invalid config key "Protokol"'),
        ('Kind = "service-defaults"\nName = "web"\nProtocol = "udp"', 1, "Protocol: 'udp' is none of"),
        ('Kind = "tcp-route"\nName = "web"', 1, "not supported yet"),
        ('Name = "web"', 2, "says no Kind"),
        ("Kind = = 1", 2, "line 1"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(
    weft: Weft, tmp_path: Path, text: str, code: int, says: str
) -> None:
    file = tmp_path / "entry.hcl"
    file.write_text(text)
    told = weft("write", str(file), code=code)
    assert says in told
    assert "entry.hcl" in told


def test_a_file_that_is_not_there_is_said(weft: Weft) -> None:
    assert "cannot be read" in weft("write", "/nowhere/entry.hcl", code=1)
