"""What features of the switch count beside requests. Each is bound with `Telemetry.count(EVENT, *labels)`."""

from .telemetry import Event

EVENTS: tuple[Event, ...] = ()
"""In the order of /metrics and of docs/metrics.md."""
