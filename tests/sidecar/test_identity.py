"""The key is made here, the next certificate comes in time, contexts trust what the snapshot says."""

import asyncio
import random
import ssl
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ca.authority import key_identifier
from sidecar.errors import CredentialRejected, RegistryUnreachable
from sidecar.identity import Identity, Svid, read_answer, tls_contexts
from sidecar.session import Session
from sidecar.telemetry import Telemetry
from tests.support.fake_registry import FakeRegistry
from tests.support.handshake import shake
from tests.support.pki import Domain
from tests.support.waiting import until
from weft.clock import SystemClock
from weft.svid import UntrustedPeer

NOBODY: frozenset[tuple[str, int]] = frozenset()


class Signer:
    """An Identity over a session, and the counters it keeps."""

    def __init__(self, registry: FakeRegistry, rng: random.Random | None = None) -> None:
        self.session = Session(registry.credential)
        self.telemetry = Telemetry()
        self.identity = Identity(self.session.sign, SystemClock(), rng or random.Random(1), self.telemetry)

    async def __aenter__(self) -> "Signer":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()


async def obtain(registry: FakeRegistry) -> Svid:
    async with Signer(registry) as signer:
        return await signer.identity.obtain()


async def test_trap_01_each_certificate_has_a_new_key_and_the_csr_names_nobody(
    registry: FakeRegistry,
) -> None:
    one, two = await obtain(registry), await obtain(registry)
    assert one.key_pem != two.key_pem
    assert one.identity == registry.identity
    for der in registry.heard.csrs:
        request = x509.load_der_x509_csr(der)
        assert not list(request.subject) and not list(request.extensions)
        assert isinstance(request.public_key(), ec.EllipticCurvePublicKey)


async def test_the_key_is_in_no_repr(registry: FakeRegistry) -> None:
    assert "PRIVATE" not in repr(await obtain(registry))


def test_a_certificate_for_another_key_is_refused() -> None:
    leaf = Domain().leaf()
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(RegistryUnreachable, match="another key"):
        read_answer(other, leaf.chain_der, 0.0, 0.0)
    with pytest.raises(RegistryUnreachable, match="unusable"):
        read_answer(leaf.key, [], 0.0, 0.0)
    with pytest.raises(RegistryUnreachable, match="unusable"):
        read_answer(leaf.key, [b"no certificate"], 0.0, 0.0)


async def test_it_is_renewed_when_due_and_again_after_failures(registry: FakeRegistry) -> None:
    registry.leaf_ttl = timedelta(seconds=10)
    taken: list[Svid] = []
    async with Signer(registry) as signer:
        first = replace(await signer.identity.obtain(), renew_at=0.0)
        await registry.stop()
        keeping = asyncio.ensure_future(signer.identity.keep_fresh(first, taken.append))
        try:
            await until(lambda: signer.telemetry.certificate_failures, "an attempt fails")
            await registry.start()
            await until(lambda: taken, "a certificate is renewed")
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
    assert taken[0].key_pem != first.key_pem
    assert taken[0].renew_at < taken[0].not_after - 4  # before half of its ten seconds


async def test_a_withdrawn_credential_ends_renewal(registry: FakeRegistry) -> None:
    async with Signer(registry) as signer:
        svid = replace(await signer.identity.obtain(), renew_at=0.0)
        await registry.revoke()
        with pytest.raises(CredentialRejected):
            await signer.identity.keep_fresh(svid, lambda _: None)


async def test_contexts_prove_both_sides(registry: FakeRegistry) -> None:
    contexts = tls_contexts(await obtain(registry), registry.domain.bundle, NOBODY, SystemClock())
    server, client = shake(contexts.server, contexts.client)
    assert (server.version, server.alpn, server.resumed) == ("TLSv1.3", "h2", False)
    assert contexts.verify(client.chain_der) == registry.identity
    assert contexts.peer(server.chain_der).not_after_unix_s == contexts.not_after


async def test_trap_08_another_clusters_ca_cannot_speak_for_ours(registry: FakeRegistry) -> None:
    """With both bundles loaded TLS accepts it; the verifier does not."""
    dc2 = Domain("dc2.weft", registry.domain.now)
    forged = dc2.forged(registry.identity.uri)
    bundles = registry.domain.bundle | dc2.bundle
    svid = await obtain(registry)
    ours = tls_contexts(svid, bundles, NOBODY, SystemClock())
    theirs = tls_contexts(
        replace(svid, key_pem=forged.key_pem, chain_der=tuple(forged.chain_der)),
        bundles,
        NOBODY,
        SystemClock(),
    )
    server, _ = shake(ours.server, theirs.client)
    with pytest.raises(UntrustedPeer):
        ours.verify(server.chain_der)


async def test_trap_04_a_revoked_leaf_is_refused(registry: FakeRegistry) -> None:
    """Although it has not expired."""
    svid = await obtain(registry)
    serial = x509.load_der_x509_certificate(svid.chain_der[0]).serial_number
    revoked = frozenset({(registry.identity.trust_domain, serial)})
    contexts = tls_contexts(svid, registry.domain.bundle, revoked, SystemClock())
    with pytest.raises(UntrustedPeer, match="revoked"):
        contexts.verify(list(svid.chain_der))


async def test_trap_09_new_contexts_forget_a_removed_root(registry: FakeRegistry) -> None:
    """A context cannot forget; only a new one can."""
    svid = await obtain(registry)
    before = tls_contexts(svid, registry.domain.bundle, NOBODY, SystemClock())
    shake(before.server, before.client)
    after = tls_contexts(svid, Domain(registry.domain.name).bundle, NOBODY, SystemClock())
    with pytest.raises(ssl.SSLError):
        shake(after.server, before.client)


async def test_trap_25_another_signing_root_hurries_the_renewal(registry: FakeRegistry) -> None:
    """The leaf lives 72 hours; only the news of another root can make it due now."""
    taken: list[Svid] = []
    async with Signer(registry, rng=_Now()) as signer:
        first = await signer.identity.obtain()
        keeping = asyncio.ensure_future(signer.identity.keep_fresh(first, taken.append))
        try:
            signer.identity.signed_by(first, b"")  # a registry that does not say
            signer.identity.signed_by(first, first.signer)
            await asyncio.sleep(0)
            assert signer.telemetry.certificate_renewals == 1
            signer.identity.signed_by(first, b"another")
            signer.identity.signed_by(first, b"another")
            await until(lambda: taken, "a certificate is renewed")
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
    assert len(taken) == 1
    assert first.signer == key_identifier(registry.domain.key.public_key())


class _Now(random.Random):
    """Draws the soonest moment always."""

    def random(self) -> float:
        return 0.0
