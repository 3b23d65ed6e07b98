"""Credentials: minted for one instance, shown once, checked at every call."""

import hmac
from collections.abc import Callable

from weft.credential import (
    ADDRESSES_MAX,
    SECRET_ENTROPY_BYTES,
    Credential,
    new_secret,
    parse_metadata,
    secret_digest,
)
from weft.errors import ConfigError

from ..agent.writer import Entropy, Writer
from ..catalog import commands
from ..catalog.model import CredentialRecord
from ..catalog.state import State
from .errors import Unauthenticated

REFUSED = "credential is not (or no longer) valid: register the service again"


class Credentials:
    """Mints. `registry_ca_pem` and `addresses` are what a sidecar needs to come back with its credential."""

    def __init__(
        self,
        writer: Writer,
        entropy: Entropy,
        registry_ca_pem: Callable[[], str],
        addresses: Callable[[State], tuple[str, ...]],
    ) -> None:
        self._writer = writer
        self._entropy = entropy
        self._registry_ca_pem = registry_ca_pem
        self._addresses = addresses

    async def mint(self, instance_key: str) -> Credential:
        """A new credential of a registered instance; an earlier one ends. Raises what propose raises."""
        secret = new_secret(self._entropy(SECRET_ENTROPY_BYTES))
        await self._writer.propose(
            lambda stamp: commands.mint_credential(stamp, instance_key, secret_digest(secret))
        )
        state = self._writer.view()
        addresses = self._addresses(state)[:ADDRESSES_MAX]
        trust_domain = state.cluster.trust_domain if state.cluster else ""
        return Credential(instance_key, secret, self._registry_ca_pem(), addresses, trust_domain)

    async def revoke(self, instance_key: str) -> None:
        """Withdraws the credential and revokes its leaves. Raises what propose raises."""
        await self._writer.propose(lambda stamp: commands.revoke_credential(stamp, instance_key))


def authenticate(state: State, metadata: str | None) -> CredentialRecord:
    """The record of the credential that a call carries. Raises Unauthenticated."""
    if metadata is None:
        raise Unauthenticated("no credential: send the metadata weft-credential")
    try:
        key, secret = parse_metadata(metadata)
    except ConfigError as error:
        raise Unauthenticated(str(error)) from None
    record = state.credential(key).rows
    digest = secret_digest(secret)
    if record is None or not hmac.compare_digest(record.digest, digest):
        raise Unauthenticated(REFUSED)
    if state.instance(key).rows is None:
        raise Unauthenticated(REFUSED)
    return record


def still_valid(state: State, record: CredentialRecord) -> bool:
    """Whether a credential that was accepted before is still in force."""
    now = state.credential(record.instance_key).rows
    registered = state.instance(record.instance_key).rows is not None
    return registered and now is not None and hmac.compare_digest(now.digest, record.digest)
