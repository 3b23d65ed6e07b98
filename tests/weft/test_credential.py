"""The credential: its document, its file and what messages about it never say."""

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pki import Domain
from weft.credential import (
    METADATA_KEY,
    Credential,
    load,
    new_secret,
    parse_metadata,
    secret_digest,
)
from weft.errors import ConfigError, EnvironmentProblem

SECRET = new_secret(bytes(range(32)))
CREDENTIAL = Credential(
    "dc1/node-1/orders-1", SECRET, Domain().root_pem.decode(), ("127.0.0.1:8502", "[::1]:8502"), "dc1.weft"
)


def test_a_document_reads_back() -> None:
    assert Credential.from_json(CREDENTIAL.to_json()) == CREDENTIAL
    assert set(orjson.loads(CREDENTIAL.to_json())) == {
        "InstanceKey",
        "Secret",
        "RegistryCAPEM",
        "RegistryAddresses",
        "TrustDomain",
    }


def test_the_secret_is_not_in_the_repr() -> None:
    assert SECRET not in repr(CREDENTIAL)
    assert CREDENTIAL.instance_key in repr(CREDENTIAL)


def test_trap_02_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "credential.json"
    CREDENTIAL.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load(path) == CREDENTIAL
    path.chmod(0o604)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.json"):
        load(tmp_path / "nowhere.json")
    with pytest.raises(EnvironmentProblem, match="exist"):
        CREDENTIAL.write(tmp_path / "no" / "where.json")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("InstanceKey", "orders-1"),
        ("InstanceKey", "dc1/node 1/orders-1"),
        ("InstanceKey", "dc1/n/" + "x" * 600),
        ("InstanceKey", None),
        ("Secret", "short"),
        ("Secret", SECRET + "\n"),
        ("Secret", 7),
        ("RegistryCAPEM", "none"),
        ("RegistryAddresses", []),
        ("RegistryAddresses", ["127.0.0.1"]),
        ("RegistryAddresses", ["127.0.0.1:70000"]),
        ("RegistryAddresses", ["http://x:1"]),
        ("RegistryAddresses", [1]),
        ("RegistryAddresses", "127.0.0.1:8502"),
        ("RegistryAddresses", ["a:1"] * 17),
        ("TrustDomain", "DC1"),
    ],
)
def test_a_bad_field_is_named_and_the_secret_is_not(field: str, value: object) -> None:
    document = orjson.loads(CREDENTIAL.to_json()) | {field: value}
    with pytest.raises(ConfigError, match=field) as caught:
        Credential.from_json(orjson.dumps(document))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("document", [b"", b"[]", b"\xff", b'"x"', b'{"InstanceKey": "dc1/a/b"'])
def test_what_is_no_document_is_refused(document: bytes) -> None:
    with pytest.raises(ConfigError, match="register"):
        Credential.from_json(document)


def test_metadata_reads_back() -> None:
    key, value = CREDENTIAL.metadata()
    assert key == METADATA_KEY
    assert parse_metadata(value) == (CREDENTIAL.instance_key, SECRET)


@pytest.mark.parametrize(
    "value", ["", SECRET, f"dc1/n/s {SECRET} ", f"dc1/n/s  {SECRET}", "dc1/n/s ", "x" * 9999]
)
def test_malformed_metadata_is_refused_without_quoting_it(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_metadata(value)
    assert SECRET not in str(caught.value)


def test_a_digest_tells_secrets_apart_and_hides_them() -> None:
    other = new_secret(bytes(32))
    assert secret_digest(SECRET) == secret_digest(SECRET) != secret_digest(other)
    assert len(secret_digest(SECRET)) == 32


def test_a_secret_needs_all_its_entropy() -> None:
    with pytest.raises(ValueError, match="32"):
        new_secret(b"few")


@given(st.text(max_size=700) | st.tuples(st.text(max_size=30), st.text(max_size=50)).map(" ".join))
def test_whatever_comes_as_proof_is_one_of_its_form_or_refused_without_its_secret(value: str) -> None:
    try:
        key, secret = parse_metadata(value)
    except ConfigError as error:
        assert len(value) < 8 or value not in str(error)
    else:
        assert f"{key} {secret}" == value
        assert key.count("/") >= 2
