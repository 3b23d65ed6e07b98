"""What features of the switch count beside requests. Each is bound with `Telemetry.count(EVENT, *labels)`."""

from .telemetry import Event

MIRRORED = Event(
    "weft_mirrored_requests",
    "Copies of requests, by what became of them.",
    ("destination", "target", "outcome"),
)

EVENTS: tuple[Event, ...] = (MIRRORED,)
"""In the order of /metrics and of docs/metrics.md."""
