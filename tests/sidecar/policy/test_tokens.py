"""What a token proves: by whose key, of whom, for whom, when; and everything that proves nothing."""

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from sidecar.admission import BEARER, Claim, Location, Place, RemoteKeys
from sidecar.errors import InvalidResource
from sidecar.h2.block import Head
from sidecar.h2.fields import request_head
from sidecar.policy.tokens import MEMO_MAX, TOKEN_BYTES_MAX, Proof, keys_of
from tests.support.tokens import jwk, jwks, key, provider, token, verifier_of

NOW = 1_700_000_000.0
EVERY = jwks("rsa", "p256", "p384", "p521", "ed25519")


def head(*fields: tuple[str, str], path: str = "/") -> Head:
    pseudo = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", path.encode()))
    return request_head((*pseudo, *((name.encode(), value.encode()) for name, value in fields)))


def prove(said: str, **settings: Any) -> Proof:
    return verifier_of(provider(**settings)).prove(head(("authorization", f"Bearer {said}")))


def trouble(said: str, now: float = NOW, **settings: Any) -> str:
    return prove(said, **settings).trouble(now)


@pytest.mark.parametrize(
    ("by", "algorithm"),
    [(name, it) for name, it in
     [*(("rsa", f"{kind}{bits}") for kind in ("RS", "PS") for bits in (256, 384, 512)),
      ("p256", "ES256"), ("p384", "ES384"), ("p521", "ES512"), ("ed25519", "EdDSA")]],
)  # fmt: skip
def test_algorithms_of_public_keys_are_believed(by: str, algorithm: str) -> None:
    proof = prove(token({"a": 1}, by=by, algorithm=algorithm), jwks=EVERY)
    assert not proof.trouble(NOW) and proof.claims == {"iss": "idp", "sub": "ada", "a": 1}
    assert not trouble(token(by=by, algorithm=algorithm, headers={"kid": None}), jwks=EVERY)


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _unsigned(algorithm: str) -> str:
    return f"{_part({'alg': algorithm, 'kid': 'p256'})}.{_part({'iss': 'idp'})}."


def _by_public_key() -> str:
    """The oldest trick: the public key as the secret of an HMAC."""
    import hashlib
    import hmac

    secret = key("p256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'p256'})}.{_part({'iss': 'idp'})}"
    mac = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), hashlib.sha256)).rstrip(b"=")
    return f"{signed}.{mac.decode()}"


def _tampered() -> str:
    header, _, signature = token().split(".")
    return f"{header}.{_part({'iss': 'idp', 'sub': 'root'})}.{signature}"


FORGED = {
    "none": _unsigned("none"),
    "None": _unsigned("None"),
    "the public key as a secret": _by_public_key(),
    "another payload": _tampered(),
    "another key": token(by="other", headers={"kid": "p256"}),
    "another key, without an id": token(by="other", headers={"kid": None}),
    "a key id that is not there": token(headers={"kid": "gone"}),
    "an algorithm of another kind of key": jwt.encode({"iss": "idp"}, "s" * 64, "HS512"),
    "a critical extension": token(headers={"crit": ["exp2"], "exp2": 1}),
    "too long": token({"x": "y" * TOKEN_BYTES_MAX}),
    "no token": "a.b.c",
    "two of them": f"{token()}, Bearer {token()}",
    "not ASCII": "é.é.é",
    "nested": f"{_part([[]])}.{_part([])}.x",
}


@pytest.mark.parametrize("case", FORGED)
def test_what_is_forged_proves_nothing(case: str) -> None:
    assert "not signed by a key of okta" in trouble(FORGED[case])


@given(st.binary(max_size=64), st.binary(max_size=64), st.binary(max_size=64))
def test_no_octets_break_the_verifier(first: bytes, second: bytes, third: bytes) -> None:
    parts = (base64.urlsafe_b64encode(it).rstrip(b"=").decode() for it in (first, second, third))
    assert trouble(".".join(parts))


def test_issuer_and_audience() -> None:
    assert "issuer" in trouble(token({"iss": "other"}))
    assert not trouble(token({"iss": "other"}), issuer="")
    wanted: dict[str, Any] = {"audiences": ("web", "shop")}
    assert not trouble(token({"aud": "web"}), **wanted)
    assert not trouble(token({"aud": ["x", "shop"]}), **wanted)
    for audience in ("x", [], ["x"], None, {"web": 1}, "websites"):
        assert (
            "audience" in trouble(token({"aud": audience}), **wanted)
            if not isinstance(audience, dict)
            else True
        )


@given(st.integers(-100, 100), st.integers(-100, 100), st.integers(0, 60), st.integers(-200, 200))
def test_times_are_kept_with_their_skew(begins: int, ends: int, skew: int, at: int) -> None:
    said = token({"nbf": NOW + begins, "exp": NOW + ends})
    fine = not trouble(said, NOW + at, clock_skew_s=float(skew))
    assert fine is (begins - skew <= at < ends + skew)


@pytest.mark.parametrize("value", ["1", True, None, float("nan"), float("inf"), 10**400, [1]])
def test_a_time_that_is_no_moment_proves_nothing(value: Any) -> None:
    header, _, _ = token().split(".")
    body = base64.urlsafe_b64encode(json.dumps({"iss": "idp", "exp": value}).encode()).rstrip(b"=").decode()
    signed = f"{header}.{body}"
    algorithm: Any = jwt.get_algorithm_by_name("ES256")
    signature = base64.urlsafe_b64encode(algorithm.sign(signed.encode(), key("p256"))).rstrip(b"=").decode()
    assert trouble(f"{signed}.{signature}")


def test_claims_are_found_by_their_path() -> None:
    proof = prove(token({"perms": {"role": "admin", "groups": ["a", "b"], "n": 1, "t": True}, "a.b": "c"}))
    held = [(("perms", "role"), "admin"), (("perms", "groups"), "b"), (("a.b",), "c"), (("sub",), "ada")]
    lacking = [
        (("perms", "role"), "adm"),
        (("perms", "n"), "1"),
        (("perms", "t"), "true"),
        (("perms",), "role"),
        (("perms", "role", "admin"), "admin"),
        (("a", "b"), "c"),
        (("gone",), ""),
    ]
    assert all(proof.has(Claim(path, value)) for path, value in held)
    assert not any(proof.has(Claim(path, value)) for path, value in lacking)


def test_where_tokens_stand() -> None:
    said = token()
    places = (
        BEARER,
        Location(Place.HEADER, "x-token"),
        Location(Place.QUERY, "t"),
        Location(Place.COOKIE, "c"),
    )
    verifier = verifier_of(provider(locations=places))
    assert verifier.reads == {b"authorization", b"x-token", b"cookie"}
    for request, place in (
        (head(("authorization", f"bearer {said}")), places[0]),
        (head(("x-token", said), ("authorization", "Basic abc")), places[1]),
        (head(path=f"/a?x=1&t={said}"), places[2]),
        (head(("cookie", "a=b"), ("cookie", f"c={said}")), places[3]),
    ):
        proof = verifier.prove(request)
        assert not proof.trouble(NOW) and proof.location is place
    assert "there is no token" in verifier.prove(head(path="/t=1")).why
    for twice in (head(path=f"/?t={said}&t={said}"), head(("cookie", f"c={said}; c={said}"))):
        assert "not signed" in verifier.prove(twice).why


def test_the_payload_is_forwarded_as_it_came() -> None:
    said = token({"x": "?"})
    for padded in (False, True):
        verifier = verifier_of(provider(forward_header="x-claims", pad_forward_header=padded))
        ((name, value),) = verifier.forwarded(verifier.prove(head(("authorization", f"Bearer {said}"))))
        assert name == b"x-claims" and value.rstrip(b"=").decode() == said.split(".")[1]
        assert not padded or len(value) % 4 == 0


def test_keys_of_a_set_are_used_only_for_what_they_are() -> None:
    def algorithms(**more: Any) -> list[tuple[str, ...]]:
        keys = [jwk("p256"), jwk("rsa", **more), {"kty": "new"}, {"kty": "oct", "k": "c2VjcmV0"}]
        return [it.algorithms for it in keys_of("x", json.dumps({"keys": keys}))]

    assert algorithms() == [("ES256",), ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")]
    assert algorithms(alg="PS256") == [("ES256",), ("PS256",)]
    assert algorithms(use="enc") == algorithms(alg="HS256") == algorithms(alg="none") == [("ES256",)]


@pytest.mark.parametrize(
    "said",
    ["", "[]", "{", '{"keys": {}}', '{"keys": []}', '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "1"],
)
def test_a_set_without_a_key_is_refused(said: str) -> None:
    with pytest.raises(InvalidResource, match="key set"):
        keys_of("jwt-provider/okta", said)


def test_keys_that_must_be_fetched_prove_nothing_yet() -> None:
    assert "have not been fetched" in trouble(token(), jwks="")
    remote = RemoteKeys("https://idp.example/keys")
    assert "only with the sidecars that fetch them" in trouble(token(), jwks="", remote=remote)


def test_the_memo_is_bounded_and_of_one_provider() -> None:
    verifier, strict = verifier_of(provider()), verifier_of(provider("b", issuer="other"))
    for number in range(MEMO_MAX + 3):
        verifier.prove(head(("authorization", f"Bearer {number}")))
    assert len(verifier._memo) <= MEMO_MAX
    request = head(("authorization", f"Bearer {token()}"))
    assert [bool(it.prove(request).trouble(NOW)) for it in (verifier, strict, verifier)] == [
        False,
        True,
        False,
    ]
