"""JSON Web Tokens and the key sets that they are checked against."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from sidecar.admission import Claim, JwtProvider, ProviderClaims, Requirement
from sidecar.policy.tokens import Verifier, given_keys

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
NAMES = ("rsa", "p256", "p384", "p521", "ed25519", "other")


@cache
def key(name: str) -> PrivateKey:
    """One of NAMES, the same in all tests of a process; "other" is in no set of ours."""
    match name:
        case "rsa":
            return rsa.generate_private_key(65537, 2048)
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "p521":
            return ec.generate_private_key(ec.SECP521R1())
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return ec.generate_private_key(ec.SECP256R1())


_JWK = {"rsa": "RS256", "p384": "ES384", "p521": "ES512", "ed25519": "EdDSA"}


def jwk(name: str, **more: Any) -> dict[str, Any]:
    """The public half."""
    algorithm: Any = get_default_algorithms()[_JWK.get(name, "ES256")]
    return {**json.loads(algorithm.to_jwk(key(name).public_key())), "kid": name, **more}


def jwks(*names: str) -> str:
    return json.dumps({"keys": [jwk(name) for name in names]})


def token(
    claims: dict[str, Any] | None = None,
    *,
    by: str = "p256",
    algorithm: str = "",
    headers: dict[str, Any] | None = None,
) -> str:
    """Signed by one of the keys. A header that is None is left out."""
    said: dict[str, Any] = {"iss": "idp", "sub": "ada", **(claims or {})}
    every = {"kid": by, **(headers or {})}
    made: Any = {name: value for name, value in every.items() if value is not None}
    return jwt.encode(said, key(by), algorithm or _JWK.get(by, "ES256"), headers=made)


def provider(name: str = "okta", **settings: Any) -> JwtProvider:
    return JwtProvider(**{"name": name, "issuer": "idp", "jwks": jwks("p256"), **settings})


def asks(*names: str, claims: Sequence[tuple[str, str]] = ()) -> Requirement:
    """A token of one of these providers, with these claims of the payload's root."""
    wanted = tuple(Claim(tuple(path.split(".")), value) for path, value in claims)
    return tuple(ProviderClaims(name, wanted) for name in names)


def verifier_of(said: JwtProvider) -> Verifier:
    """Of a provider whose keys are given."""
    return Verifier(said, given_keys(said))
