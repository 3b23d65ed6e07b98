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

SPANS = Event("weft_spans", "Spans of sampled requests, by what became of them.", ("result",))
ACCESS_LOG_LINES = Event("weft_access_log_lines", "Access log lines, by what became of them.", ("result",))
TAPPED = Event("weft_tapped_requests", "Requests that a tap wanted, by what became of them.", ("result",))

RATE_LIMITED = Event(
    "weft_rate_limited_requests",
    "Requests that a rate limit of the service refused.",
    ("source", "limit"),
)
INJECTED = Event(
    "weft_injected_faults",
    "Requests that an experiment of the service was done to.",
    ("source", "fault"),
)

KEY_FETCHES = Event(
    "weft_key_set_fetches", "Fetches of key sets of JWT providers, by result.", ("provider", "result")
)

EVENTS: tuple[Event, ...] = (
    MIRRORED,
    RATE_LIMITED,
    INJECTED,
    TCP_BYTES,
    SPANS,
    ACCESS_LOG_LINES,
    TAPPED,
    KEY_FETCHES,
)
"""In the order of /metrics and of docs/metrics.md."""
