"""`weft join-token` and what `weft operator` and `weft members` say of agents, against a running registry."""

import json

import pytest

from registry.identity.join_text import JoinText
from tests.support.dev import Dev, running_dev
from weft.cli import run


@pytest.fixture(scope="module")
def dev():  # type: ignore[no-untyped-def]
    with running_dev("--node-name", "n1") as found:
        yield found


def said(capsys: pytest.CaptureFixture[str], dev: Dev, *arguments: str) -> tuple[str, str]:
    """What a command that must succeed prints: for programs, and for people."""
    assert run([*arguments, "--http-addr", dev.http]) == 0
    found = capsys.readouterr()
    return found.out, found.err


def test_a_token_is_made_listed_and_revoked(dev: Dev, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = said(capsys, dev, "join-token", "create", "--node", "vm-1", "--ttl", "10m")
    text = JoinText.parse(out)  # alone on stdout: it is meant for a file
    assert text.id in err
    assert text.secret not in err
    out, _ = said(capsys, dev, "join-token", "list")
    assert text.id in out
    assert "node vm-1" in out
    assert text.secret not in out
    said(capsys, dev, "join-token", "revoke", text.id)
    assert text.id not in said(capsys, dev, "join-token", "list")[0]


def test_programs_get_json(dev: Dev, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = said(capsys, dev, "join-token", "create", "--node-prefix", "web-", "--format", "json")
    made = json.loads(out)
    assert (made["NodePrefix"], made["Node"], err) == ("web-", "", "")
    rows = json.loads(said(capsys, dev, "join-token", "list", "--format", "json")[0])
    assert [row["NodePrefix"] for row in rows if row["ID"] == made["ID"]] == ["web-"]


@pytest.mark.parametrize("flags", [[], ["--node", "a", "--node-prefix", "b"]])
def test_a_token_is_for_one_or_the_other(
    dev: Dev, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    assert run(["join-token", "create", *flags, "--http-addr", dev.http]) == 2
    assert "one of --node and --node-prefix" in capsys.readouterr().err


def test_who_may_join_may_be_told_wrongly(dev: Dev, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["join-token", "create", "--node", "a/b", "--http-addr", dev.http]) == 1
    assert "use 1 to 128 letters" in capsys.readouterr().err


def test_agents_are_listed_and_removed(dev: Dev, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing" in said(capsys, dev, "operator", "agents")[1]
    assert said(capsys, dev, "operator", "remove-agent", "vm-9")[0] == "Removed: vm-9\n"
    assert "server" in said(capsys, dev, "members")[0]
