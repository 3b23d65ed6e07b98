"""Sans-IO. What an operator decides about limits. The unit ends the name, the reason follows it."""

from dataclasses import dataclass
from enum import StrEnum

UNLIMITED = float("inf")

BURST_S = 10
"""Seconds of its rate that a bucket holds, as Consul's: a start of many clients at once is no flood."""

HTTP_CONNECTIONS_MAX = 20_000
"""HTTP and HTTPS together, 17 KB each while parked; gRPC has as many. A process takes 65,536 descriptors
where the machine allows it."""

HTTP_CONNECTIONS_PER_SOURCE_MAX = 4_096
"""A machine full of consul-templates, or one NAT in front of many machines. Consul says 200, which one
template of 300 services exceeds."""

WATCHES_MAX = 16_384
"""Parked blocking queries of all callers, each with a connection, a task and its timers."""

WATCHES_PER_TOKEN_MAX = 8_192
WATCHES_PER_SOURCE_MAX = 4_096
"""As connections: each parked query has one."""

GRPC_CALLS_MAX = 32_768
"""Calls under way, of which a sidecar has two that stay."""

GRPC_CALLS_PER_SOURCE_MAX = 16_384
"""Thousands of sidecars and agents behind one address; each has proven itself before its call costs much."""

GRPC_CONNECTIONS_MAX = 20_000
GRPC_STREAMS_PER_CONNECTION_MAX = 128
"""A sidecar has three at most."""

HEAD_TIMEOUT_S = 10.0
"""From the first byte of a request's head to its last, and for a TLS handshake. A slow network takes one."""

BODY_TIMEOUT_S = 30.0
"""For a whole body of 512 KiB at most, and for each block of a snapshot."""

STALL_S = 10.0
READ_BYTES_PER_S_MIN = 4 * 1024
"""What a client has to take of an answer, on average over STALL_S: it holds memory meanwhile."""


class Mode(StrEnum):
    """What becomes of a request over its rate, as in Consul."""

    DISABLED = "disabled"
    PERMISSIVE = "permissive"  # it is served, counted and logged
    ENFORCING = "enforcing"  # it is refused


@dataclass(frozen=True, slots=True)
class RequestRates:
    """Requests a second; one server's, not the cluster's."""

    mode: Mode = Mode.DISABLED
    read: float = UNLIMITED
    write: float = UNLIMITED
    source_read: float = UNLIMITED  # of one source address
    source_write: float = UNLIMITED


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Everything that may be set."""

    rates: RequestRates = RequestRates()
    http_connections_per_source: int = HTTP_CONNECTIONS_PER_SOURCE_MAX
    watches_per_token: int = WATCHES_PER_TOKEN_MAX
    watches_per_source: int = WATCHES_PER_SOURCE_MAX
