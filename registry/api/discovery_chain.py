"""`/v1/discovery-chain/:service`: what becomes of calls to a service, compiled."""

from dataclasses import dataclass

from ..agent.fields import Fields, decode_object, read_whole
from ..catalog import watches
from ..config_entries.service_defaults import PROTOCOLS
from ..discovery_chain.compile import compile_chain
from ..discovery_chain.shape import shape
from .errors import BadRequest, NoSuchDatacenter
from .handling import Answer, Reading, answer


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a caller's upstream says instead of the entries."""

    protocol: str = ""
    connect_timeout_s: float = 0.0


def get(reading: Reading) -> Answer:
    """Blocks on the entries that the chain is made of, and on no other."""
    service, state = reading.needed("Missing chain name"), reading.state
    datacenter = reading.query.text("compile-dc") or reading.parts.datacenter
    if datacenter != reading.parts.datacenter:
        raise NoSuchDatacenter
    overrides = read_whole(decode_object(reading.body), "", _read) if reading.body else Overrides()
    chain = compile_chain(service, datacenter, state.config, protocol=overrides.protocol)
    keys = [watches.config_entry(*key) for key in sorted(chain.reads)]
    trust_domain = state.cluster.trust_domain if state.cluster else ""
    timeout_ms = round(overrides.connect_timeout_s * 1000)
    shown = shape(chain, trust_domain, connect_timeout_ms=timeout_ms)
    return answer(state.read(None, *keys), {"Chain": shown})


def _read(fields: Fields) -> Overrides:
    fields.mapping("OverrideMeshGateway")  # clusters do not peer yet
    found = Overrides(fields.text("OverrideProtocol").lower(), fields.duration_s("OverrideConnectTimeout"))
    if found.protocol not in ("", *PROTOCOLS):
        raise BadRequest(f"OverrideProtocol {found.protocol[:50]!r}: use {', '.join(PROTOCOLS)}")
    if not 0 <= found.connect_timeout_s <= 60:
        raise BadRequest("OverrideConnectTimeout: use 0s to 1m")
    return found
