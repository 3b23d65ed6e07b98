"""What is known about fields by their name alone."""

# RFC 9113 section 8.2.2: they speak of one HTTP/1.1 connection; a message with one is malformed.
CONNECTION_SPECIFIC = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)

# Values that somebody may want to guess: in a dynamic table they could be probed (RFC 7541 section 7.1).
SENSITIVE = frozenset(
    (
        b"authorization",
        b"cookie",
        b"proxy-authorization",
        b"set-cookie",
        b"x-api-key",
        b"x-amz-security-token",
    )
)
SENSITIVE_ENDINGS = (b"-token", b"-secret", b"-password", b"-api-key")

# Values that seldom come twice: in a dynamic table they would only push out what repeats.
PER_REQUEST = frozenset(
    (
        b"age",
        b"b3",
        b"baggage",
        b"content-length",
        b"date",
        b"etag",
        b"expires",
        b"grpc-message",
        b"grpc-previous-rpc-attempts",
        b"grpc-retry-pushback-ms",
        b"grpc-status-details-bin",
        b"grpc-tags-bin",
        b"grpc-timeout",
        b"grpc-trace-bin",
        b"idempotency-key",
        b"if-modified-since",
        b"if-none-match",
        b"last-modified",
        b"traceparent",
        b"tracestate",
        b"uber-trace-id",
        b"x-amzn-trace-id",
        b"x-b3-flags",
        b"x-b3-parentspanid",
        b"x-b3-sampled",
        b"x-b3-spanid",
        b"x-b3-traceid",
        b"x-cloud-trace-context",
        b"x-correlation-id",
        b"x-request-id",
    )
)

# Where a request stands in a trace (W3C Trace Context, B3): the switch reads and rewrites them beside the
# head, so that each does not make a head of its own.
TRACE_CONTEXT = frozenset(
    (
        b"b3",
        b"traceparent",
        b"tracestate",
        b"x-b3-flags",
        b"x-b3-parentspanid",
        b"x-b3-sampled",
        b"x-b3-spanid",
        b"x-b3-traceid",
    )
)

# The decoder keeps these in the head whatever their representation: validation or the switch reads them.
READ_ALWAYS = CONNECTION_SPECIFIC | {b"content-length", b"grpc-status", b"host", b"te"}


def is_sensitive(name: bytes) -> bool:
    """Whether the value must never enter a dynamic table."""
    return name in SENSITIVE or name.endswith(SENSITIVE_ENDINGS)


def is_volatile(name: bytes) -> bool:
    """Whether a new value of the field says nothing about the next request's."""
    return name in PER_REQUEST or is_sensitive(name)
