"""What features of the switch count beside requests. Each is bound with `Telemetry.count(EVENT, *labels)`."""

from .telemetry import Event

MIRRORED = Event(
    "weft_mirrored_requests",
    "Copies of requests, by what became of them.",
    ("destination", "target", "outcome"),
)

TCP_BYTES = Event(
    "weft_tcp_bytes",
    "Bytes of TCP streams, by the way that they went.",
    ("direction", "source", "destination", "way"),
)

EVENTS: tuple[Event, ...] = (MIRRORED, TCP_BYTES)
"""In the order of /metrics and of docs/metrics.md."""
