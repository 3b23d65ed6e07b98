"""`weft audit verify`, and the options that say where an audit log is written."""

import json
from pathlib import Path

import pytest

from registry.audit.chain import Head, line_of
from registry.audit.event import Event, Outcome
from registry.audit.settings import AuditSettings
from weft.cli import run
from weft.cli.audit import audit_settings


def written(path: Path, count: int, head: Head | None = None) -> Head:
    head, lines = head or Head(), b""
    for number in range(count):
        line, head = line_of(Event("PUT /v1/kv/:key", Outcome.DONE, str(number)), 1e9, 0, head)
        lines += line
    path.write_bytes(lines)
    return head


def test_files_are_read_in_the_order_of_their_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "audit.log.000000000001", tmp_path / "audit.log"
    head = written(new, 3, written(old, 4))
    (tmp_path / "audit.log.head").write_text(json.dumps({"seq": head.seq, "hash": head.hash}))
    files = sorted(map(str, tmp_path.iterdir()))
    assert run(["audit", "verify", "--format", "json", *files]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"Lines": 7, "First": 1, "Head": str(head), "Wrong": "", "At": ""}
    assert run(["audit", "verify", "--head", str(head), str(new)]) == 0


def test_the_first_wrong_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "audit.log"
    written(path, 5)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    assert run(["audit", "verify", str(path)]) == 1
    told = capsys.readouterr().err
    assert f"{path}:3: 1 lines before this one were removed; the 2 lines before it are whole" in told


def test_lines_cut_off_show_by_the_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "audit.log"
    head = written(path, 5)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    assert run(["audit", "verify", str(path)]) == 0
    assert run(["audit", "verify", "--head", str(head), str(path)]) == 1
    assert "removed from the end" in capsys.readouterr().err


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    written(path, 2)
    with path.open("ab") as file:
        file.write(b'{"seq":3,"pr')
    assert run(["audit", "verify", str(path)]) == 0


@pytest.mark.parametrize("given", [["--head", "7"], ["--head", "x:" + "0" * 64], ["missing"], []])
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str]
) -> None:
    files = [str(tmp_path / it) if it == "missing" else it for it in given]
    assert run(["audit", "verify", *files, *([] if "missing" in given or not given else ["f"])]) != 0
    assert capsys.readouterr().err.count("\n") == 1


def test_options_say_where_it_is() -> None:
    given = {"audit_log": "", "audit_log_mib": 2, "audit_log_files": 3, "audit_on_failure": "continue"}
    default = Path("/d/audit.log")
    assert audit_settings(given, default) == AuditSettings(default, 2 << 20, 3, refuses=False)
    assert audit_settings(given, None) is None
    assert audit_settings(given | {"audit_log": "off"}, default) is None
    named = audit_settings(given | {"audit_log": "/e/a"}, None)
    assert named
    assert named.path == Path("/e/a")
