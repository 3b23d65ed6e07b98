"""Sans-IO. JSON Web Tokens (RFC 7519) of a request: where they are, and what they prove, at which times.

As RFC 8725 has it: only algorithms of public keys, each key only for what it is, never "none". What a token
proves but for its times depends on its octets and the provider alone, so it is remembered by them.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ..admission import Claim, JwtProvider, Location, Place
from ..errors import InvalidResource
from ..h2.block import Field, Head

TOKEN_BYTES_MAX = 16 * 1024
JWKS_BYTES_MAX = 256 * 1024
KEYS_MAX = 64  # of one set; a token without a key id is tried with each
RSA_BITS_MIN = 2048  # NIST SP 800-131A
MEMO_MAX = 256  # tokens whose proof is remembered, per provider; a signature costs 30 to 100 µs to check
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}  # RFC 7518 section 3.4
_UNCHECKED = ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")  # by the library, which asks its own clock
_SIGNATURE_ONLY: Any = dict.fromkeys((f"verify_{claim}" for claim in _UNCHECKED), False)

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class Key(NamedTuple):
    """One key of a set and what it may sign with."""

    key: PublicKey
    algorithms: tuple[str, ...]
    key_id: str


class Proof(NamedTuple):
    """What a token proves from `since` until `until` (Unix seconds), or `why` it proves nothing."""

    provider: str
    why: str = ""
    claims: Mapping[str, Any] | None = None
    payload: str = ""  # as in the token: base64url without padding
    since: float = -math.inf
    until: float = math.inf
    location: Location | None = None

    def trouble(self, now: float) -> str:
        """Why it proves nothing at `now`; "" where it does."""
        if self.claims is None:
            return self.why
        if now >= self.until:
            return f"the token of {self.provider} has expired"
        return "" if now >= self.since else f"the token of {self.provider} is not valid yet"

    def has(self, claim: Claim) -> bool:
        found: Any = self.claims
        for part in claim.path:
            found = found.get(part) if isinstance(found, dict) else None
        return claim.value in found if isinstance(found, list) else found == claim.value


def _nothing() -> None:
    """Of a set that never changes."""


class KeySet:
    """Keys, as they are now. `miss` is called when a token names one that is not there, and `missing` is for
    whoever then looks for it. `absent` says why there are none."""

    __slots__ = ("absent", "keys", "miss", "missing")

    def __init__(
        self,
        keys: tuple[Key, ...],
        miss: Callable[[], None] = _nothing,
        absent: str = "have not been fetched",
    ) -> None:
        self.keys = keys
        self.miss = miss
        self.missing = False
        self.absent = absent

    def put(self, keys: tuple[Key, ...]) -> None:
        """From now on it holds these; what it said of any token is forgotten."""
        self.keys = (*keys,)  # another object, so that memos are void
        self.missing = False


class Verifier:
    """One provider. `reads` are the header names that its tokens may stand in."""

    __slots__ = ("_keys", "_memo", "_set", "provider", "reads")

    def __init__(self, provider: JwtProvider, key_set: KeySet) -> None:
        self.provider = provider
        self._set = key_set
        self._keys = key_set.keys  # that the memo was made with
        self._memo: dict[str, Proof] = {}
        self.reads = frozenset(
            it.name.encode() if it.place is Place.HEADER else b"cookie"
            for it in provider.locations
            if it.place is not Place.QUERY
        )

    def prove(self, head: Head) -> Proof:
        """What the token in the request proves. Depends on the head and the keys alone."""
        name = self.provider.name
        if self._keys is not self._set.keys:
            self._keys = self._set.keys
            self._memo.clear()
        for location in self.provider.locations:
            token = token_at(head, location)
            if token is not None:
                if not self._keys:
                    self._set.miss()
                    return Proof(name, f"the keys of {name} {self._set.absent}")
                return self._proof(token)._replace(location=location)
        return Proof(name, f"there is no token of {name}")

    def _proof(self, token: str) -> Proof:
        known = self._memo.get(token)
        if known is None:
            known = self._checked(token)
            if len(self._memo) >= MEMO_MAX:
                self._memo.clear()
            self._memo[token] = known
        return known

    def _checked(self, token: str) -> Proof:
        name = self.provider.name
        claims = _signed(token, self._keys)
        if claims is None:
            if not _names_one_of(token, self._keys):
                self._set.miss()
            return Proof(name, f"the token is not signed by a key of {name}")
        if self.provider.issuer and claims.get("iss") != self.provider.issuer:
            return Proof(name, f"the token is not of {name}'s issuer")
        audiences = claims.get("aud")
        given = audiences if isinstance(audiences, list) else [audiences]
        if self.provider.audiences and not any(it in given for it in self.provider.audiences):
            return Proof(name, f"the token is not for an audience of {name}")
        expires, begins = _time(claims, "exp", math.inf), _time(claims, "nbf", -math.inf)
        if expires is None or begins is None:
            return Proof(name, f"the token of {name} has a time that is no number")
        skew = self.provider.clock_skew_s
        return Proof(name, "", claims, token.split(".")[1], begins - skew, expires + skew)

    def forwarded(self, proof: Proof) -> tuple[Field, ...]:
        """The payload, as the application is told it."""
        if not self.provider.forward_header:
            return ()
        value = proof.payload.rstrip("=")
        if self.provider.pad_forward_header:
            value += "=" * (-len(value) % 4)
        return ((self.provider.forward_header.encode(), value.encode()),)


def given_keys(provider: JwtProvider) -> KeySet:
    """Of a provider whose set is in its entry, for whoever fetches none. Raises InvalidResource."""
    if provider.remote is not None:
        return KeySet(
            (), absent="are only with the sidecars that fetch them: nothing is known of a token here"
        )
    jwks = provider.jwks
    return KeySet(keys_of(f"jwt-provider/{provider.name}", jwks) if jwks else ())


def keys_of(where: str, jwks: str) -> tuple[Key, ...]:
    """The public keys of a set that can check signatures (RFC 7517). Raises InvalidResource."""
    try:
        found = orjson.loads(jwks)["keys"]
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidResource(where, "has a key set that cannot be read") from error
    if not isinstance(found, list) or len(found) > KEYS_MAX:
        raise InvalidResource(where, f"has a key set that is no list of at most {KEYS_MAX} keys")
    keys = tuple(filter(None, map(_key, found)))
    if not keys:
        raise InvalidResource(where, "has a key set without a public key that may sign (RSA, EC, Ed25519)")
    return keys


def _key(said: object) -> Key | None:
    """None where it is of no use here: sets may hold keys for other purposes (RFC 7517 section 5)."""
    if not isinstance(said, dict) or said.get("use", "sig") != "sig":
        return None
    import jwt  # here and below: 2 MB that only sidecars with providers pay

    try:
        key = jwt.PyJWK(said).key
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, KeyError, NotImplementedError):
        return None
    declared = said.get("alg")
    algorithms = tuple(it for it in _algorithms(key) if declared in (None, it))
    return Key(key, algorithms, str(said.get("kid") or "")) if algorithms else None


def _algorithms(key: object) -> tuple[str, ...]:
    match key:
        case rsa.RSAPublicKey():
            return _RSA if key.key_size >= RSA_BITS_MIN else ()
        case ec.EllipticCurvePublicKey():
            name = _CURVES.get(key.curve.name)
            return (name,) if name else ()
        case ed25519.Ed25519PublicKey():
            return ("EdDSA",)
        case _:  # a shared secret, a private key: anybody who can read the entry could sign
            return ()


def _signed(token: str, keys: tuple[Key, ...]) -> dict[str, Any] | None:
    """The claims, if one of the keys has signed them."""
    import jwt

    key_id = _key_id(token)
    if key_id is None:
        return None
    for key in keys:
        if key_id and key.key_id and key.key_id != key_id:
            continue
        try:
            return jwt.decode(token, key.key, algorithms=list(key.algorithms), options=_SIGNATURE_ONLY)
        except (jwt.InvalidAlgorithmError, jwt.InvalidSignatureError):
            continue
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None
    return None


def _key_id(token: str) -> str | None:
    """What the token says of its key, "" where that is nothing; None where it is no token."""
    import jwt

    if len(token) > TOKEN_BYTES_MAX:
        return None
    try:
        return str(jwt.get_unverified_header(token).get("kid") or "")
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None


def _names_one_of(token: str, keys: tuple[Key, ...]) -> bool:
    """Whether another set of keys would not change what the token proves."""
    key_id = _key_id(token)
    return key_id is None or any(key_id == key.key_id for key in keys if key_id)


def _time(claims: Mapping[str, Any], name: str, absent: float) -> float | None:
    value = claims.get(name, absent)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if name in claims and not (-1e15 < value < 1e15):  # NaN, infinite, an integer beyond floats
        return None
    return float(value)


def token_at(head: Head, location: Location) -> str | None:
    """The token at this place; None where there is none. What stands there twice is none that verifies."""
    if location.place is Place.HEADER:
        value = head.value(location.name.encode())
        prefix = location.value_prefix
        if value is None or value[: len(prefix)].decode("latin-1").lower() != prefix.lower():
            return None
        return value[len(prefix) :].decode("latin-1").strip()
    if location.place is Place.QUERY:
        query = head.path.partition(b"?")[2].decode("latin-1")
        pairs = parse_qsl(query, keep_blank_values=True) if location.name in query or "%" in query else []
    else:
        cookies = (head.value(b"cookie") or b"").decode("latin-1")
        pairs = [(it.partition("=")[0].strip(), it.partition("=")[2].strip()) for it in cookies.split(";")]
    found = [value for name, value in pairs if name == location.name]
    return ",".join(found) if found else None
