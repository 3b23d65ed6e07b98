"""`connect/ca/*`: the CA's roots, and leaves for clients that hold their key themselves."""

from ca.bundle import chain_to_pem, colon_hex, der_to_pem, serial_bytes

from ..catalog import watches
from ..catalog.model import CaRoot
from ..identity.service_leaves import Held
from .blocking import JITTER_SHARE
from .handling import Answer, Call, Reading, answer, on_server
from .respond import Reply
from .views import Json, rfc3339

PEM_TYPE = "application/pem-certificate-chain"
UINT64_MAX = 2**64 - 1


def roots(reading: Reading) -> Answer:
    found = reading.state.ca_roots()
    cluster = reading.state.cluster
    own = [row for row in found.rows if cluster and row.trust_domain == cluster.trust_domain]
    if reading.query.boolean("pem"):
        pem = chain_to_pem(row.certificate_der for row in own)
        return Answer(pem, found.index, found.keys, content_type=PEM_TYPE)
    return answer(
        found,
        {
            "ActiveRootID": next((row.id for row in own if row.active), ""),
            "TrustDomain": cluster.trust_domain if cluster else "",
            "Roots": [_root(row) for row in own],
        },
    )


def _root(row: CaRoot) -> Json:
    return {
        "ID": row.id,
        "Name": row.name,
        "SerialNumber": int(row.serial_number) & UINT64_MAX,  # Go reads a uint64, as it writes one
        "SigningKeyID": row.signing_key_id,
        "ExternalTrustDomain": row.trust_domain.partition(".")[0],
        "NotBefore": rfc3339(row.not_before_ms),
        "NotAfter": rfc3339(row.not_after_ms),
        "RootCert": der_to_pem(row.certificate_der),
        "IntermediateCerts": [der_to_pem(der) for der in row.intermediates_der],
        "Active": row.active,
        "PrivateKeyType": row.key_type,
        "PrivateKeyBits": row.key_bits,
        "CreateIndex": row.indexes.create,
        "ModifyIndex": row.indexes.modify,
    }


async def leaf(call: Call) -> Reply:
    """A leaf with its private key; a blocking call answers when it is renewed or the roots change."""
    service = call.needed("Missing service name")
    parts, after = call.parts, call.query.index()
    leaves = on_server(parts.leaves)
    wait_s = call.query.wait_s() * (1 + parts.draw() / JITTER_SHARE)
    deadline = parts.clock.monotonic() + wait_s
    while True:
        state = parts.log.view()
        held = await leaves.current(service)
        left_s = deadline - parts.clock.monotonic()
        if not after or held.index > after or left_s <= 0:
            headers = {"X-Consul-Index": str(held.index), "X-Cache": "MISS", "Cache-Control": "no-store"}
            return call.json(_leaf(held), headers)
        wait_s = min(left_s, leaves.renews_in_s(held))
        with parts.limits.watch(call.caller.accessor_id, call.source):
            await parts.log.wait((watches.ROOTS, watches.REVOCATIONS), state.index, wait_s)


def _leaf(held: Held) -> Json:
    issued = held.leaf.issued
    return {
        "SerialNumber": colon_hex(serial_bytes(issued.serial)),
        "CertPEM": chain_to_pem(held.leaf.chain_der).decode(),
        "PrivateKeyPEM": held.key_pem.decode(),
        "Service": held.service,
        "ServiceURI": held.leaf.identity.uri,
        "ValidAfter": rfc3339(int(issued.not_before.timestamp() * 1000)),
        "ValidBefore": rfc3339(int(issued.not_after.timestamp() * 1000)),
        "CreateIndex": held.index,
        "ModifyIndex": held.index,
    }
