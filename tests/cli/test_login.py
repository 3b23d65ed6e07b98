"""`weft login` and `weft logout` with a real auth method; every verb's output for programs."""

import json
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.dev import Dev, running_dev
from weft.cli import root, run

KEY = ec.generate_private_key(ec.SECP256R1())
METHOD = {
    "Name": "corp",
    "Type": "jwt",
    "MaxTokenTTL": "1h",
    "Config": {
        "JWTValidationPubKeys": [
            KEY.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        ],
        "JWTSupportedAlgs": ["ES256"],
        "ClaimMappings": {"sub": "name"},
    },
}
MANAGEMENT = "5b2a6b0e-2f1c-4a4e-9d6a-1f1f0e6b9f10"
Weft = Callable[..., str]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A registry with an access control list, a method and a rule that gives ops all keys."""
    token = tmp_path_factory.mktemp("token") / "management"
    token.write_text(MANAGEMENT)
    token.chmod(0o600)
    with running_dev("--acl", "--management-token-file", str(token), "--node-name", "n1") as dev:
        for path, body in (
            ("/v1/acl/policy", {"Name": "keys", "Rules": 'key_prefix "" { policy = "write" }'}),
            ("/v1/acl/role", {"Name": "ops", "Policies": [{"Name": "keys"}]}),
            ("/v1/acl/auth-method", METHOD),
            ("/v1/acl/binding-rule", {"AuthMethod": "corp", "BindType": "role", "BindName": "${value.name}"}),
        ):
            dev.ok("PUT", f"{path}?token={MANAGEMENT}", body)
        yield dev


@pytest.fixture
def login_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WEFT_HTTP_TOKEN", "CONSUL_HTTP_TOKEN", "WEFT_LOGIN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "weft" / "login.json"


@pytest.fixture
def weft(guarded: Dev, login_file: Path, capsys: pytest.CaptureFixture[str]) -> Weft:
    def call(*arguments: str, code: int = 0, address: str = guarded.http) -> str:
        assert run([*arguments, "--http-addr", address]) == code
        told = capsys.readouterr()
        return told.out if code == 0 else told.err

    return call


@pytest.fixture
def bearer(tmp_path: Path) -> Path:
    file = tmp_path / "id.jwt"
    file.write_text(jwt.encode({"sub": "ops", "exp": time.time() + 600}, KEY, algorithm="ES256"))
    return file


def test_a_login_is_kept_and_used_until_the_logout(
    weft: Weft, guarded: Dev, login_file: Path, bearer: Path
) -> None:
    assert "lacks permission" in weft("kv", "put", "a", "1", code=1)
    told = weft("login", "--method", "corp", "--bearer-token-file", str(bearer))
    assert told.startswith(f"Logged in to http://{guarded.http} as token ")
    assert stat.S_IMODE(login_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(login_file.parent.stat().st_mode) == 0o700
    weft("kv", "put", "a", "1")
    (secret,) = json.loads(login_file.read_bytes()).values()
    assert weft("logout") == f"Logged out of http://{guarded.http}\n"
    assert json.loads(login_file.read_bytes()) == {}
    assert "lacks permission" in weft("kv", "put", "a", "2", code=1)
    assert guarded.call("GET", f"/v1/kv/a?token={secret}")[0] == 403
    assert "not logged in" in weft("logout", code=1)


def test_who_may_not_read_an_intention_is_told_what_it_says_of_a_call(
    guarded: Dev, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = 'service "orders" { policy = "read" intentions = "deny" }'
    guarded.ok("PUT", f"/v1/acl/policy?token={MANAGEMENT}", {"Name": "asks", "Rules": rules})
    token = guarded.ok("PUT", f"/v1/acl/token?token={MANAGEMENT}", {"Policies": [{"Name": "asks"}]})
    entry = {"Kind": "service-intentions", "Name": "orders"}
    permission = {"Action": "allow", "HTTP": {"PathPrefix": "/"}}
    told = {**entry, "Sources": [{"Name": "web", "Permissions": [permission]}]}
    guarded.ok("PUT", f"/v1/config?token={MANAGEMENT}", told)
    who = ("--http-addr", guarded.http, "--token", token["SecretID"])
    assert run(["intention", "check", "web", "orders", *who]) == 2
    assert capsys.readouterr().out == "Denied\n"
    assert run(["intention", "check", "web", "orders", *who, "--format", "json"]) == 2
    assert json.loads(capsys.readouterr().out) == {"Allowed": False}


def test_a_token_goes_to_its_own_registry_only(
    weft: Weft, guarded: Dev, login_file: Path, bearer: Path
) -> None:
    weft("login", "--method", "corp", "--bearer-token-file", str(bearer))
    with running_dev("--acl") as other:
        assert "anonymous token" in weft("kv", "put", "a", "1", code=1, address=other.http)
        assert "not logged in" in weft("logout", code=1, address=other.http)
    weft("logout")


def test_logging_in_again_ends_the_token_before(
    weft: Weft, guarded: Dev, login_file: Path, bearer: Path
) -> None:
    secrets = []
    for _ in range(2):
        weft("login", "--method", "corp", "--bearer-token-file", str(bearer))
        secrets += json.loads(login_file.read_bytes()).values()
    assert [guarded.call("GET", f"/v1/kv/?keys&token={it}")[0] for it in secrets] == [403, 200]
    weft("logout")


def test_a_token_can_go_into_a_file_of_its_own(
    weft: Weft, guarded: Dev, login_file: Path, bearer: Path, tmp_path: Path
) -> None:
    sink = tmp_path / "token"
    arguments = ("--method", "corp", "--bearer-token-file", str(bearer), "--token-sink-file", str(sink))
    told = json.loads(weft("login", *arguments, "--meta", "host=vm1", "--format", "json"))
    assert told["AuthMethod"] == "corp"
    assert "SecretID" not in told
    assert stat.S_IMODE(sink.stat().st_mode) == 0o600
    assert not login_file.exists()
    weft("kv", "put", "a", "1", "--token-file", str(sink))
    row = guarded.ok("GET", f"/v1/acl/token/{told['AccessorID']}?token={MANAGEMENT}")
    assert row["Description"] == "token created via login: host=vm1"
    weft("logout", "--token-file", str(sink))


def test_a_logout_of_a_token_that_has_ended_forgets_it(
    weft: Weft, guarded: Dev, login_file: Path, bearer: Path
) -> None:
    told = json.loads(
        weft("login", "--method", "corp", "--bearer-token-file", str(bearer), "--format", "json")
    )
    guarded.ok("DELETE", f"/v1/acl/token/{told['AccessorID']}?token={MANAGEMENT}")
    assert "had ended already" in weft("logout")
    assert json.loads(login_file.read_bytes()) == {}


def test_what_is_wrong_with_a_login_is_one_line(
    weft: Weft, login_file: Path, bearer: Path, tmp_path: Path
) -> None:
    assert "cannot be read" in weft("login", "--method", "corp", "--bearer-token-file", "/no/file", code=2)
    assert "KEY=VALUE" in weft(
        "login", "--method", "corp", "--bearer-token-file", str(bearer), "--meta", "x", code=2
    )
    forged = tmp_path / "forged"
    forged.write_text(jwt.encode({"sub": "ops"}, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"))
    assert "refused (403)" in weft("login", "--method", "corp", "--bearer-token-file", str(forged), code=1)
    login_file.parent.mkdir(parents=True)
    login_file.write_text("{}")
    login_file.chmod(0o644)
    assert "chmod 600" in weft("kv", "get", "a", code=2)


def _leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            assert found is not None
            yield from _leaves(found, (*path, name))
    else:
        yield " ".join(path), command


ALWAYS_JSON = {"config read", "kv export"}


def test_every_verb_that_asks_the_registry_answers_programs_too() -> None:
    names = {path: {it.name for it in found.params} for path, found in _leaves(root)}
    asking = {path for path, parameters in names.items() if "api" in parameters}
    assert len(asking) > 30
    assert {path for path in asking if "form" not in names[path]} == ALWAYS_JSON


def test_what_a_verb_did_is_json_for_programs(weft: Weft, tmp_path: Path) -> None:
    entry = tmp_path / "entry.json"
    entry.write_text(json.dumps({"Kind": "service-defaults", "Name": "web", "Protocol": "http"}))
    steps: tuple[tuple[tuple[str, ...], dict[str, Any] | list[Any]], ...] = (
        (("services", "register", "--name", "web"), {"ID": "web", "Service": "web"}),
        (("services", "deregister", "web"), {"ID": "web"}),
        (
            ("intention", "create", "--deny", "a", "b"),
            {"SourceName": "a", "DestinationName": "b", "Action": "deny"},
        ),
        (("intention", "delete", "a", "b"), {"SourceName": "a", "DestinationName": "b"}),
        (("kv", "put", "k", "v"), {"Key": "k"}),
        (("kv", "delete", "k"), {"Key": "k", "Recurse": False}),
        (("config", "write", str(entry)), [{"Kind": "service-defaults", "Name": "web"}]),
        (
            ("config", "delete", "--kind", "service-defaults", "--name", "web"),
            {"Kind": "service-defaults", "Name": "web"},
        ),
        (("snapshot", "save", str(tmp_path / "s")), {"File": str(tmp_path / "s")}),
        (("maint", "--enable", "--reason", "disk"), {"Service": "", "Maintenance": True}),
        (("maint", "--disable"), {"Service": "", "Maintenance": False}),
    )
    for arguments, expected in steps:
        found = json.loads(weft(*arguments, "--format", "json", "--token", MANAGEMENT))
        if isinstance(expected, dict):
            found = {key: found[key] for key in expected}
        assert found == expected, arguments


def test_exit_codes(weft: Weft, guarded: Dev) -> None:
    assert weft("kv", "put", "k", "v", "--token", MANAGEMENT)
    assert weft("kv", "get", "none", "--token", MANAGEMENT, code=1)
    assert "lacks permission" in weft("kv", "get", "k", code=1)
    assert "no registry answers" in weft("kv", "get", "k", code=1, address="127.0.0.1:1")
    assert "see: weft kv get --help" in weft("kv", "get", "--wrong", code=2)
    assert "https://host:port" in weft("members", code=2, address="nonsense://")


def _bash(script: str) -> str:
    """In a shell with `weft` on its path."""
    bin_ = Path(sys.executable).parent
    found = subprocess.run(
        ["bash", "--norc", "-c", f'PATH="{bin_}:$PATH"\nsource <(weft completion bash)\n{script}'],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert found.stderr == ""
    return found.stdout


def completed(*words: str) -> list[str]:
    """What bash offers for the last word."""
    quoted = " ".join(f"'{word}'" for word in words)
    return _bash(
        f"complete -p weft >/dev/null\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}\n"
        '_weft_completion weft; printf "%s\\n" "${COMPREPLY[@]}"'
    ).split()


def test_bash_completes_commands_options_and_choices() -> None:
    assert completed("weft", "cata") == ["catalog"]
    assert completed("weft", "catalog", "ser") == ["services"]
    assert "--enable" in completed("weft", "maint", "--")
    assert completed("weft", "members", "--format", "j") == ["json"]


def test_bash_completes_names_from_the_registry(guarded: Dev, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_HTTP_ADDR", guarded.http)
    monkeypatch.setenv("WEFT_HTTP_TOKEN", MANAGEMENT)
    guarded.ok("PUT", f"/v1/agent/service/register?token={MANAGEMENT}", {"Name": "orders", "ID": "orders-7"})
    assert completed("weft", "drain", "ord") == ["orders-7"]
    assert completed("weft", "catalog", "instances", "ord") == ["orders"]
    monkeypatch.setenv("WEFT_HTTP_ADDR", "127.0.0.1:1")
    assert completed("weft", "drain", "ord") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_scripts(shell: str) -> None:
    weft_ = Path(sys.executable).parent / "weft"
    script = subprocess.run([weft_, "completion", shell], capture_output=True, text=True, check=True).stdout
    assert f"_WEFT_COMPLETE={shell}_complete" in script


def test_a_login_is_set_up_from_the_command_line(weft: Weft, tmp_path: Path) -> None:
    config = tmp_path / "method.json"
    config.write_text(json.dumps(METHOD["Config"]))
    manage = ("--token", MANAGEMENT)
    weft("acl", "role", "create", "readers", "--policy", "keys", *manage)
    assert "readers" in weft("acl", "role", "list", *manage)
    create = ("acl", "auth-method", "create", "site", "--config", str(config), "--max-token-ttl", "1h")
    assert weft(*create, *manage) == "Created: auth method site\n"
    assert "site" in weft("acl", "auth-method", "list", *manage)
    rule = ("--bind-type", "role", "--bind-name", "readers", "--selector", 'value.name == "ada"')
    made = json.loads(
        weft("acl", "binding-rule", "create", "--method", "site", *rule, "--format", "json", *manage)
    )
    assert "readers" in weft("acl", "binding-rule", "list", "--method", "site", *manage)
    bearer = tmp_path / "ada.jwt"
    for name, code in (("ada", 0), ("bob", 1)):
        bearer.write_text(jwt.encode({"sub": name, "exp": time.time() + 600}, KEY, algorithm="ES256"))
        weft("login", "--method", "site", "--bearer-token-file", str(bearer), code=code)
    weft("kv", "put", "by-ada", "1")
    weft("logout")
    weft("acl", "binding-rule", "delete", made["ID"], *manage)
    weft("acl", "auth-method", "delete", "site", *manage)
    weft("acl", "role", "delete", "readers", *manage)
    assert "readers" not in weft("acl", "role", "list", *manage)
    config.write_text("{")
    assert "not JSON" in weft(*create, *manage, code=2)
