"""The URL of a log in etcd: what it says, and one clear line for what it may not say."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.replica.etcd.address import parse
from weft.errors import ConfigError

PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


def test_endpoints_and_prefix() -> None:
    address = parse("etcd://127.0.0.1:1,[::1]:2,localhost/weft/dc1/")
    assert address.endpoints == ("127.0.0.1:1", "[::1]:2", "localhost:2379")
    assert (address.prefix, address.tls, address.user, address.compacts) == ("weft/dc1", None, "", True)
    assert parse("etcd://localhost").prefix == "weft"
    assert parse("etcd://[::1]").endpoints == ("[::1]:2379",)
    assert not parse("etcd://localhost/x?compaction=leave").compacts


def test_tls_and_sign_in_come_from_files(tmp_path: Path) -> None:
    for name, text in {"ca": PEM, "cert": PEM, "key": "secret key", "pw": "hunter2\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    address = parse(
        f"etcds://root@etcd.internal:2379/x?ca={tmp_path}/ca&cert={tmp_path}/cert&key={tmp_path}/key"
        f"&password-file={tmp_path}/pw"
    )
    assert address.tls and address.tls.roots == PEM.encode() and address.tls.key == b"secret key"
    assert (address.user, address.password) == ("root", "hunter2")
    assert "hunter2" not in repr(address) and "secret key" not in repr(address)
    assert str(address) == "etcds://etcd.internal:2379/x"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("raft://x", "etcd://host:port/prefix"),
        ("etcd://", "etcd://host:port/prefix"),
        ("etcd:///x", "not host"),
        ("etcd://localhost:0", "not host"),
        ("etcd://localhost:99999", "not host"),
        ("etcd://localhost:", "not host"),
        ("etcd://a b", "not host"),
        ("etcd://::1", "brackets"),
        ("etcd://[::1", "not host"),
        ("etcd://[1.2.3.4.5]", "not host"),
        ("etcd://localhost,localhost:2379", "once"),
        ("etcd://localhost/a//b", "prefix"),
        ("etcd://localhost/a b", "prefix"),
        ("etcd://localhost/" + "a" * 201, "prefix"),
        ("etcd://localhost/a#b", "'#'"),
        ("etcd://localhost?nonsense=1", "no option 'nonsense'"),
        ("etcd://localhost?compaction=no", "only be 'leave'"),
        ("etcd://localhost?plaintext=yes", "only be 'allow'"),
        ("etcd://localhost?compaction", "name=value"),
        ("etcd://localhost?compaction=", "with a value"),
        ("etcd://localhost?compaction=leave&compaction=leave", "once"),
        ("etcd://localhost?ca=/x", "etcds://"),
        ("etcds://localhost?cert=/x", "go together"),
        ("etcds://localhost?ca=/no/such/file", "ca: /no/such/file"),
        ("etcd://root@localhost", "go together"),
        ("etcd://root:hunter2@localhost", "password-file"),
        ("etcd://localhost?password-file=/x", "go together"),
        ("etcd://10.0.0.1", "not encrypted"),
        ("etcd://127.0.0.1,etcd.internal", "not encrypted"),
    ],
)
def test_what_a_url_may_not_say(url: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(url)
    assert says in str(refused.value) and "--consensus" in str(refused.value)
    assert "hunter2" not in str(refused.value) and "\n" not in str(refused.value)


def test_plaintext_leaves_the_machine_only_when_it_is_asked_to() -> None:
    assert parse("etcd://10.0.0.1/x?plaintext=allow").endpoints == ("10.0.0.1:2379",)


def test_secrets_that_others_may_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pw"
    path.write_text("hunter2")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        parse(f"etcd://root@localhost/x?password-file={path}")
    (tmp_path / "ca").write_text("not PEM")
    with pytest.raises(ConfigError, match="PEM"):
        parse(f"etcds://localhost/x?ca={tmp_path}/ca")


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    for scheme in ("", "etcd://", "etcds://", "etcd://localhost/"):
        try:
            parse(scheme + text)
        except ConfigError:
            continue
