"""`weft server`: its options, its file, and what does not go together. Running it is tests/e2e/cluster."""

from pathlib import Path
from typing import Any

import pytest

from weft.cli import run, server

TOKEN = "0e8a1e0b-7a4f-4c3b-9d6e-1f2a3b4c5d6e"
MINIMUM = ("--data-dir", "d", "--tls-ca", "a", "--tls-cert", "c", "--tls-key", "k")


def parsed(*arguments: str) -> dict[str, Any]:
    return server.command.make_context("server", list(arguments)).params


def file(tmp_path: Path, text: str, mode: int = 0o644) -> str:
    path = tmp_path / "server.toml"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


FULL = """
data_dir = "/var/lib/weft"
node_name = "s1"
bind = "10.0.0.1"
bootstrap_expect = 3
retry_join = ["10.0.0.2", "s3.example.org:8400", "::1"]
tls_ca = "ca.pem"
tls_cert = "cert.pem"
tls_key = "key.pem"
https_port = 9501
default_intention = "allow"
"""


def test_a_file_gives_options(tmp_path: Path) -> None:
    found = parsed("--config-file", file(tmp_path, FULL))
    assert found["data_dir"] == Path("/var/lib/weft")
    assert found["retry_join"] == ("10.0.0.2:8300", "s3.example.org:8400", "[::1]:8300")
    assert (found["bootstrap_expect"], found["https_port"], found["http_port"]) == (3, 9501, 8500)


def test_flags_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file(tmp_path, FULL)
    monkeypatch.setenv("WEFT_NODE_NAME", "from-environment")
    monkeypatch.setenv("WEFT_HTTPS_PORT", "9502")
    found = parsed("--config-file", path, "--https-port", "9503")
    assert (found["node_name"], found["https_port"], found["bind"]) == ("from-environment", 9503, "10.0.0.1")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("data_dri = 'x'", "is it data_dir?"),
        ("config_file = 'x'", "no setting 'config_file'"),
        ("retry_join = 'one'", "retry_join must be a list"),
        ("bind = ['one']", "bind must be one value"),
        ("[bind]\nhost = 'x'", "bind must be one value"),
        ("not toml", "not TOML"),
        ("bootstrap_expect = 'three'", "--bootstrap-expect"),
        ("bootstrap_expect = 9", "--bootstrap-expect"),
        ("retry_join = ['host:99999']", "the port must be 1 to 65535"),
        ("retry_join = ['a b']", "give host or host:port"),
        ("bind = '10.0.0.1:8300'", "without a port"),
        ("node_name = 'a b'", "letters, digits"),
    ],
)
def test_a_wrong_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    assert run(["server", "--config-file", file(tmp_path, text), *MINIMUM]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_file_with_the_token_is_for_its_owner_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f'management_token = "{TOKEN}"'
    assert run(["server", "--config-file", file(tmp_path, text), *MINIMUM]) == 2
    error = capsys.readouterr().err
    assert "chmod 600" in error
    assert TOKEN not in error
    found = parsed("--config-file", file(tmp_path, text, 0o600), *MINIMUM)
    assert found["management_token"] == TOKEN


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--management-token", TOKEN, "--management-token-file", "f"), "not both"),
        (("--management-token", "short"), "use 16 to 256 printable characters"),
        (("--management-token", TOKEN, "--bind", "0.0.0.0"), "say with --advertise"),
        (("--management-token", TOKEN), "--tls-ca"),
    ],
)
def test_options_must_go_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], told: str
) -> None:
    missing = [part if part.startswith("--") else str(tmp_path / part) for part in MINIMUM]
    if "--tls-ca" not in told:
        assert run(["tls", "ca", "create", "--directory", str(tmp_path)]) == 0
        assert run(["tls", "cert", "create", "--directory", str(tmp_path), "--node", "s1"]) == 0
        names = {
            "a": "weft-server-ca.pem",
            "c": "dc1-server-s1.pem",
            "k": "dc1-server-s1-key.pem",
            "d": "data",
        }
        missing = [part if part.startswith("--") else str(tmp_path / names[part]) for part in MINIMUM]
    capsys.readouterr()
    assert run(["server", *missing, *options]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("flag", ["--data-dir", "--tls-ca", "--tls-cert", "--tls-key"])
def test_what_a_server_cannot_do_without(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    at = MINIMUM.index(flag)
    assert run(["server", *MINIMUM[:at], *MINIMUM[at + 2 :]]) == 2
    assert f"Missing option '{flag}'" in capsys.readouterr().err
