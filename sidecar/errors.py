"""What can go wrong in a sidecar.

WeftError
├── InvalidResource         expected: the registry sent what we cannot obey; the delta is refused
├── CredentialRejected      expected: the registry no longer knows our credential; we stop serving
├── RegistryUnreachable     expected: serving goes on with what is known
├── WorkerLost              expected: a worker process is gone, or its supervisor; another is started
├── FetchFailed             expected: a document was not fetched; what is known of it stays in use
├── TapsFull                expected: as many taps are open as may be
└── RequestRefused          expected: one request is answered by us; `respond.ANSWERS` says how
    ├── MalformedRequest        the request breaks RFC 9113 section 8
    ├── HeadersTooLarge         more header bytes than we accept
    ├── AmbiguousRequest        its path, or a header's name, can be read in two ways
    ├── CallerDenied            an intention denies the caller, or this request of it
    ├── RateLimited             a rate limit of the service lets no more through now
    ├── FaultInjected           an experiment answers it on purpose
    ├── TokenRefused            an intention asks for a token that the request does not bear
    ├── NoRoute                 no route of the upstream matches the request
    ├── NoInstance              no instance is registered and healthy
    ├── ConnectFailed           no attempt reached an instance
    ├── DeadlineExceeded        the time for it has passed
    ├── ConnectionsFull         a circuit breaker: no more connections to the destination may be made
    ├── RequestsFull            a circuit breaker: too many requests are under way to the destination
    ├── PendingFull             too many requests wait for a connection already
    ├── UpstreamLost            the connection broke while the request was under way
    ├── AppUnreachable          our own application does not accept connections
    ├── AppUnhealthy            our own application fails a check that we make of it
    ├── EgressDenied            no rule admits this destination outside the mesh
    └── NotParsed               bytes of an unknown protocol where rules read requests
"""

from weft.errors import Unavailable, UsageError, WeftError


class InvalidResource(WeftError):
    """Expected. `resource` of a delta cannot be obeyed, and why."""

    def __init__(self, resource: str, why: str) -> None:
        super().__init__(f"resource {resource!r} {why}")
        self.resource = resource


class CredentialRejected(UsageError):
    """Expected. The credential was withdrawn, or its instance deregistered."""

    exit_code = 1


class RegistryUnreachable(Unavailable):
    """Expected. The registry did not answer; what is served already stays served."""


class WorkerLost(Unavailable):
    """Expected. The process at the other end of a channel is gone."""


class FetchFailed(Unavailable):
    """Expected. A document that an entry names was not fetched, and why."""


class TapsFull(Unavailable):
    """Expected. No further tap is opened."""


class RequestRefused(WeftError):
    """Expected. Root of what one request can be refused with."""


class MalformedRequest(RequestRefused):
    """Expected. RFC 9113 section 8.1.1."""


class HeadersTooLarge(RequestRefused):
    """Expected. RFC 6585 section 5."""


class CallerDenied(RequestRefused):
    """Expected. The intentions deny this caller."""


class AmbiguousRequest(RequestRefused):
    """Expected. Rules and the application could read the request differently."""


class TokenRefused(RequestRefused):
    """Expected. There is no token, or not one that proves what is asked."""


class RateLimited(RequestRefused):
    """Expected. Too many requests for a rate limit of the service."""


class FaultInjected(RequestRefused):
    """Expected. An experiment ends the request on purpose."""


class NoRoute(RequestRefused):
    """Expected. No route of the upstream matches."""


class NoInstance(RequestRefused):
    """Expected. The destination has no healthy instance."""


class ConnectFailed(RequestRefused):
    """Expected. Every permitted attempt to connect failed."""


class DeadlineExceeded(RequestRefused):
    """Expected. The caller's deadline, or the route's time-out, has passed."""


class ConnectionsFull(RequestRefused):
    """Expected. The destination's connections are at their bound."""


class RequestsFull(RequestRefused):
    """Expected. The requests under way to the destination are at their bound."""


class PendingFull(RequestRefused):
    """Expected. The queue for connections is at its bound."""


class UpstreamLost(RequestRefused):
    """Expected. The connection to the instance broke with the request under way."""


class NotParsed(RequestRefused):
    """Expected. What cannot be read cannot be judged, so it does not pass."""


class EgressDenied(RequestRefused):
    """Expected. No rule admits the destination outside the mesh."""


class AppUnreachable(RequestRefused):
    """Expected. Our application does not accept the connection."""


class AppUnhealthy(RequestRefused):
    """Expected. Our application fails a check: the caller is sent elsewhere."""
