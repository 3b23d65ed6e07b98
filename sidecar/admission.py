"""The frozen configuration of what is asked of requests that arrive: permissions, tokens, limits, faults.

Part of `sidecar.snapshot.Inbound`; `policy` makes these from the registry's resources and has checked every
number. Times are seconds. What is 0 where that is said means "not limited" or "not used".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from .traffic import HttpMatch


@dataclass(frozen=True, slots=True)
class Claim:
    """`value` is the claim at `path` from the payload's root, or one of it where it is a list."""

    path: tuple[str, ...]
    value: str


@dataclass(frozen=True, slots=True)
class ProviderClaims:
    """A token of this provider, with all of these claims."""

    provider: str
    claims: tuple[Claim, ...] = ()


Requirement = tuple[ProviderClaims, ...]
"""A valid token of one of them satisfies it. Empty: nothing is asked."""


@dataclass(frozen=True, slots=True)
class Permission:
    """Of an intention: the first that matches a request decides. `match` None: every request."""

    allow: bool
    match: HttpMatch | None = None
    jwt: Requirement = ()  # holds in addition to `match`


class Place(Enum):
    """Where a token may stand."""

    HEADER = "header"
    QUERY = "query_parameter"
    COOKIE = "cookie"


@dataclass(frozen=True, slots=True)
class Location:
    place: Place
    name: str
    value_prefix: str = ""  # of a header; it is no part of the token
    forward: bool = False  # the header goes on to the application, token and all


BEARER = Location(Place.HEADER, "authorization", "Bearer ")


@dataclass(frozen=True, slots=True)
class RemoteKeys:
    """A key set that is fetched."""

    uri: str
    timeout_s: float = 1.0
    cache_s: float = 300.0
    retries: int = 0  # at once, before the next regular fetch


@dataclass(frozen=True, slots=True)
class JwtProvider:
    """Who issues tokens. Its keys are in `jwks` (the set itself, JSON), or fetched from `remote`."""

    name: str
    issuer: str = ""  # "": any
    audiences: tuple[str, ...] = ()  # one of them; none: any
    clock_skew_s: float = 30.0
    jwks: str = ""
    remote: RemoteKeys | None = None
    locations: tuple[Location, ...] = (BEARER,)  # the first that holds a token
    forward_header: str = ""  # the payload, base64url, goes to the application in it; "": it does not
    pad_forward_header: bool = False


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A token bucket: `per_second` requests on average, `burst` at once."""

    name: str
    per_second: float
    burst: float
    match: HttpMatch | None = None
    per_caller: bool = False


class Distribution(Enum):
    FIXED = "fixed"
    UNIFORM = "uniform"
    NORMAL = "normal"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True, slots=True)
class Delay:
    """How long a request is held: exactly `fixed_s`, or drawn, and never outside `least_s` to `most_s`."""

    distribution: Distribution = Distribution.FIXED
    fixed_s: float = 0.0
    mean_s: float = 0.0
    deviation_s: float = 0.0
    least_s: float = 0.0
    most_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Abort:
    """What is answered instead of the application: both are set."""

    http_status: int
    grpc_status: int


@dataclass(frozen=True, slots=True)
class Fault:
    """An experiment on a share of requests."""

    name: str
    ppm: int  # of 1,000,000
    match: HttpMatch | None = None
    delay: Delay | None = None
    abort: Abort | None = None
    bytes_per_second: int = 0  # of the answer's body; 0: not limited
    reset: bool = False
    ends_s: float = 0.0  # Unix time after which nothing is done any more


class EscapedSlashes(Enum):
    """What becomes of %2F and %5C in a path."""

    UNSAID = ""  # refused where rules read paths, kept elsewhere
    KEEP = "keep"
    REJECT = "reject"
    UNESCAPE = "unescape"


class Underscored(Enum):
    """What becomes of headers with "_" in their name: to some applications they are those with "-"."""

    ALLOW = "allow"
    REJECT = "reject"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class PathPolicy:
    """How a request's path is read before it is authorised; the same path goes on."""

    disabled: bool = False
    merge_slashes: bool = False
    escaped_slashes: EscapedSlashes = EscapedSlashes.UNSAID
    underscored: Underscored = Underscored.ALLOW


@dataclass(frozen=True, slots=True)
class Admission:
    """What is asked of every request that arrives, whoever calls."""

    jwt: Requirement = ()  # over what the rule of the caller asks
    providers: Mapping[str, JwtProvider] = field(default_factory=dict)  # all that some requirement names
    paths: PathPolicy = PathPolicy()
    limits: tuple[RateLimit, ...] = ()  # all that match a request must let it through
    faults: tuple[Fault, ...] = ()  # all that match a request are drawn for
