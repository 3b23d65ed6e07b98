"""Which calls the called side has failed, as sidecars and the registry both count."""

# Among gRPC's statuses, as OpenTelemetry's conventions for server spans name them: UNKNOWN,
# DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
FAILED_GRPC = frozenset((2, 4, 12, 13, 14, 15))
