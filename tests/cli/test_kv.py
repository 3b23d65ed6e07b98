"""`weft kv`, against a real registry."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.dev import Dev, running_dev
from weft.cli import run

Weft = Callable[..., str]


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    with running_dev("--node-name", "n1") as found:
        yield found


@pytest.fixture
def weft(dev: Dev, capsys: pytest.CaptureFixture[str]) -> Weft:
    def call(*arguments: str, code: int = 0) -> str:
        assert run(["kv", *arguments, "--http-addr", dev.http]) == code
        told = capsys.readouterr()
        return told.out if code == 0 else told.out + told.err

    return call


def test_keys_are_put_read_listed_exported_and_brought_back(weft: Weft, tmp_path: Path) -> None:
    assert weft("put", "app/a", "one", "--flags", "7") == "Success! Data written to: app/a\n"
    (tmp_path / "value").write_bytes(b"two\n")
    weft("put", "app/b", f"@{tmp_path}/value")
    weft("put", "app/c", "--base64", "dGhyZWU=")
    assert weft("get", "app/a") == "one\n"
    assert weft("get", "app/c", "--base64") == "dGhyZWU=\n"
    assert "Flags" in weft("get", "app/a", "--detailed")
    assert weft("list", "app/") == "app/a\napp/b\napp/c\n"
    assert json.loads(weft("list", "--separator", "/", "--format", "json")) == ["app/"]
    exported = weft("export", "app/")
    assert {"key": "app/a", "flags": 7, "value": "b25l"} in json.loads(exported)
    assert "keys with prefix" in weft("delete", "--recurse", "app/")
    assert weft("list", "app/") == ""
    (tmp_path / "all.json").write_text(exported)
    weft("import", f"@{tmp_path}/all.json", "--prefix", "again/")
    assert weft("get", "again/app/b") == "two\n\n"


def test_comparisons_that_are_lost_end_with_an_error(weft: Weft) -> None:
    weft("put", "cas", "--cas", "1")
    assert "another index than 0" in weft("put", "cas", "2", "--cas", code=1)
    index = str(json.loads(weft("get", "cas", "--format", "json"))["ModifyIndex"])
    weft("put", "cas", "2", "--cas", "--modify-index", index)
    assert "another index" in weft("delete", "cas", "--cas", "--modify-index", index, code=1)
    assert "needs --modify-index" in weft("delete", "cas", "--cas", code=2)


def test_standard_input_is_a_value(weft: Weft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    weft("put", "piped", "-")
    assert weft("get", "piped") == "piped\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("get", "gone"), 1, "no key is named 'gone'"),
        (("get", "/a"), 2, "leave out the slash"),
        (("put", "a", "@/nowhere"), 1, "cannot be read"),
        (("put", "a", "?", "--base64"), 2, "is no base64"),
        (("put", "a", "--acquire"), 2, "need --session"),
        (("import", "{}x"), 2, "is no export"),
        (("export", "gone"), 1, "no key begins with"),
    ],
)
def test_mistakes_are_explained(weft: Weft, arguments: tuple[str, ...], code: int, says: str) -> None:
    assert says in weft(*arguments, code=code)
