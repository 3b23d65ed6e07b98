"""Lists of gateways: empty, as no kind of entry makes one yet; their index moves once one is written."""

from ..catalog import watches
from ..catalog.state import Read
from .handling import Answer, Reading, answer

_KINDS = ("ingress-gateway", "terminating-gateway", "api-gateway")


def ingress(reading: Reading) -> Answer:
    """`health/ingress`: gateways that carry a service in."""
    return answer(_none(reading, "Missing service name", _KINDS[:1]), [])


def services(reading: Reading) -> Answer:
    """`catalog/gateway-services`: what a gateway carries."""
    return answer(_none(reading, "Missing gateway name", _KINDS), [])


def _none(reading: Reading, missing: str, kinds: tuple[str, ...]) -> Read[None]:
    reading.needed(missing)
    return reading.state.read(None, *map(watches.config_kind, kinds))
