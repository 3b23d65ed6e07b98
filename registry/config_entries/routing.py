"""Where calls of a service go: service-router, service-splitter, service-resolver."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..filter.errors import InvalidFilter
from ..filter.expression import filter_of
from ..filter.rows import HEALTH_ENTRY
from . import checks
from .entry import Entry
from .errors import InvalidEntry
from .fields import (
    duration,
    flag,
    integer,
    integers,
    keyed,
    nested,
    number,
    objects,
    tenancy,
    text,
    texts,
    unsupported,
)
from .matching import HashPolicy, HeaderEdits, Match
from .schema import refuse_unless

ROUTES_MAX = 256  # each is looked at for every new kind of request
RETRIES_MAX = 20
CONNECT_TIMEOUT_MS_MAX = 60_000  # longer than any SYN retry that still makes sense
BODY_BYTES_MAX = 1024 * 1024  # of one request that is kept for a retry
RETRY_ON = (
    *("connect-failure", "refused-stream", "reset", "5xx", "gateway-error", "retriable-4xx"),
    *("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"),
)
_PEERING = "clusters do not peer yet"
_SAMENESS = "groups of clusters are not known here; write a Failover list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A copy of requests whose answer nobody waits for."""

    service: str = text("Service", "Who gets the copy; this service where empty.", check=checks.service_name)
    subset: str = text("ServiceSubset", "A subset of it.", check=checks.subset_name)
    percent: float = number("Percent", "Share of requests.", 0, 100, default=100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBackoff:
    base_ms: int = duration("Base", "Before the first retry, doubled for each further one, full jitter.")
    max_ms: int = duration("Max", "Never longer.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """Retries in flight at most this share of the active requests, or Min if that is more."""

    percent: int = integer("Percent", "Of the upstream's active requests.", 0, 100, default=20)
    least: int = integer("Min", "Retries that are always allowed.", 0, 10_000, default=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDestination:
    service: str = text("Service", "Where to; this service where empty.", check=checks.service_name)
    subset: str = text("ServiceSubset", "A subset of it.", check=checks.subset_name)
    prefix_rewrite: str = text(
        "PrefixRewrite", "Replaces the matched prefix or path.", check=checks.http_path
    )
    request_timeout_ms: int = duration("RequestTimeout", "For the whole request, retries included.")
    idle_timeout_ms: int = duration("IdleTimeout", "Without a byte either way.")
    per_try_timeout_ms: int = duration("PerTryTimeout", "For one attempt.")
    num_retries: int = integer("NumRetries", "Attempts after the first.", 0, RETRIES_MAX)
    retry_on_connect_failure: bool = flag("RetryOnConnectFailure", "Short for RetryOn connect-failure.")
    retry_on_status_codes: tuple[int, ...] = integers("RetryOnStatusCodes", "HTTP statuses.", 100, 599)
    retry_on: tuple[str, ...] = texts("RetryOn", "What is retried.", choices=RETRY_ON)
    backoff: RetryBackoff | None = nested("RetryBackoff", RetryBackoff, "25ms, doubled to 250ms, by default.")
    budget: RetryBudget | None = nested("RetryBudget", RetryBudget, "20 percent or 3 by default.")
    retry_body_bytes: int = integer(
        "RetryBodyBytes", "A longer body is not kept; 64 KiB by default.", 0, BODY_BYTES_MAX
    )
    sticky: tuple[HashPolicy, ...] = objects(
        "Sticky", HashPolicy, "Keeps a user on one side of a split.", most=8
    )
    mirrors: tuple[Mirror, ...] = objects("Mirrors", Mirror, "Who gets copies.", most=4)
    request_headers: HeaderEdits | None = nested("RequestHeaders", HeaderEdits, "Edits on the way there.")
    response_headers: HeaderEdits | None = nested("ResponseHeaders", HeaderEdits, "Edits on the way back.")
    namespace: None = tenancy("Namespace")
    partition: None = tenancy("Partition")

    @property
    def has_retries(self) -> bool:
        return bool(
            self.num_retries or self.retry_on_connect_failure or self.retry_on_status_codes or self.retry_on
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRoute:
    match: Match | None = nested("Match", Match, "Every request where absent.")
    destination: RouteDestination | None = nested(
        "Destination", RouteDestination, "This service where absent."
    )

    def check(self, path: str) -> None:
        http, to = self.match and self.match.http, self.destination
        rewrites = bool(to and to.prefix_rewrite)
        refuse_unless(
            not rewrites or (http and (http.path_prefix or http.path_exact)),
            path, "Destination.PrefixRewrite", "needs Match.HTTP.PathPrefix or PathExact",
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRouter(Entry):
    """Routes calls of a service by what they ask. The first match wins; the rest goes to the service."""

    KIND: ClassVar[str] = "service-router"

    routes: tuple[ServiceRoute, ...] = objects("Routes", ServiceRoute, "In order.", most=ROUTES_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSplit:
    weight: float = number("Weight", "Percent, in steps of 0.01.", 0, 100)
    service: str = text("Service", "Where to; this service where empty.", check=checks.service_name)
    subset: str = text("ServiceSubset", "A subset of it.", check=checks.subset_name)
    request_headers: HeaderEdits | None = nested("RequestHeaders", HeaderEdits, "Edits on the way there.")
    response_headers: HeaderEdits | None = nested("ResponseHeaders", HeaderEdits, "Edits on the way back.")
    namespace: None = tenancy("Namespace")
    partition: None = tenancy("Partition")

    def check(self, path: str) -> None:
        refuse_unless(
            abs(self.weight * 100 - self.hundredths) < 1e-6, path, "Weight", "must be in steps of 0.01"
        )

    @property
    def hundredths(self) -> int:
        return round(self.weight * 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSplitter(Entry):
    """Splits calls of a service by weight."""

    KIND: ClassVar[str] = "service-splitter"

    splits: tuple[ServiceSplit, ...] = objects("Splits", ServiceSplit, "Weights sum to 100.")
    sticky: tuple[HashPolicy, ...] = objects("Sticky", HashPolicy, "Keeps a user on one side.", most=8)

    def check(self, path: str) -> None:
        refuse_unless(self.splits, path, "Splits", "is missing")
        total = sum(split.hundredths for split in self.splits)
        refuse_unless(
            total == 10_000, path, "Splits", f"the sum of all split weights must be 100, not {total / 100:g}"
        )
        legs = [(split.service or self.name, split.subset) for split in self.splits]
        for at, leg in enumerate(legs):
            refuse_unless(
                leg not in legs[:at], path, f"Splits[{at}]", "names the same service and subset again"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    filter: str = text(
        "Filter", "Over `Service`, `Node` and `Checks`, as `Service.Meta.version == v2`.", most=4096
    )
    only_passing: bool = flag("OnlyPassing", "Instances with a warning are left out as well.")

    def check(self, path: str) -> None:
        try:
            filter_of(self.filter, HEALTH_ENTRY)
        except InvalidFilter as error:
            raise InvalidEntry(f"{path}.Filter", str(error)) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    service: str = text("Service", "Instead of this one.", check=checks.service_name)
    subset: str = text("ServiceSubset", "A subset of it.", check=checks.subset_name)
    datacenter: str = text("Datacenter", "In another datacenter.", check=checks.service_name)
    namespace: None = tenancy("Namespace")
    partition: None = tenancy("Partition")
    peer: None = unsupported("Peer", _PEERING)
    sameness_group: None = unsupported("SamenessGroup", _SAMENESS)

    def check(self, path: str) -> None:
        refuse_unless(self.service or self.subset or self.datacenter, path, "", "is empty")
        refuse_unless(not self.subset or self.service, path, "ServiceSubset", "needs Service")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailoverTarget:
    service: str = text("Service", "This service where empty.", check=checks.service_name)
    subset: str = text("ServiceSubset", "A subset of it.", check=checks.subset_name)
    datacenter: str = text("Datacenter", "This one where empty.", check=checks.service_name)
    namespace: None = tenancy("Namespace")
    partition: None = tenancy("Partition")
    peer: None = unsupported("Peer", _PEERING)

    def check(self, path: str) -> None:
        refuse_unless(self.service or self.subset or self.datacenter, path, "", "is empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    """Who answers when no instance is left: the first of the list that has one."""

    service: str = text("Service", "This service where empty.", check=checks.service_name)
    subset: str = text("ServiceSubset", "A subset of it.", check=checks.subset_name)
    datacenters: tuple[str, ...] = texts("Datacenters", "In this order.", check=checks.service_name)
    targets: tuple[FailoverTarget, ...] = objects(
        "Targets", FailoverTarget, "In this order, instead of the above."
    )
    namespace: None = tenancy("Namespace")
    policy: None = unsupported("Policy", "fail-over goes by the order of the list")
    sameness_group: None = unsupported("SamenessGroup", _SAMENESS)

    def check(self, path: str) -> None:
        plain = self.service or self.subset or self.datacenters
        refuse_unless(
            plain or self.targets,
            path,
            "",
            "one of Service, ServiceSubset, Targets or Datacenters is required",
        )
        refuse_unless(
            not (plain and self.targets), path, "Targets", "not with Service, ServiceSubset or Datacenters"
        )

    def legs(self, service: str, datacenter: str) -> list[tuple[str, str, str]]:
        """Service, subset and datacenter of each, in order."""
        if self.targets:
            return [(it.service or service, it.subset, it.datacenter or datacenter) for it in self.targets]
        return [(self.service or service, self.subset, it) for it in self.datacenters or (datacenter,)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RingHashConfig:
    minimum: int = integer("MinimumRingSize", "Points of the ring.", 0, 8_388_608)
    maximum: int = integer("MaximumRingSize", "Points of the ring.", 0, 8_388_608)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastRequestConfig:
    choice_count: int = integer("ChoiceCount", "Instances that are compared; 2 by default.", 0, 100)


POLICIES = ("random", "round_robin", "least_request", "ring_hash", "maglev")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancer:
    policy: str = text("Policy", "How an instance is chosen.", choices=POLICIES)
    ring_hash: RingHashConfig | None = nested("RingHashConfig", RingHashConfig, "Of `ring_hash`.")
    least_request: LeastRequestConfig | None = nested(
        "LeastRequestConfig", LeastRequestConfig, "Of `least_request`."
    )
    hash_policies: tuple[HashPolicy, ...] = objects(
        "HashPolicies", HashPolicy, "Of `ring_hash` and `maglev`.", most=8
    )
    slow_start_ms: int = duration("SlowStart", "A new instance's weight rises over this time.", 3_600_000)

    def check(self, path: str) -> None:
        is_hashed = self.policy in ("ring_hash", "maglev")
        refuse_unless(
            is_hashed or not self.hash_policies, path, "HashPolicies", "needs Policy ring_hash or maglev"
        )
        refuse_unless(
            not self.ring_hash or self.policy == "ring_hash", path, "RingHashConfig", "needs Policy ring_hash"
        )
        refuse_unless(
            not self.least_request or self.policy in ("", "least_request"),
            path, "LeastRequestConfig", "needs Policy least_request",
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PrioritizeByLocality:
    mode: str = text(
        "Mode", "`failover`: instances of the same zone first, then region.", choices=("none", "failover")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceResolver(Entry):
    """Which instances stand for a service: subsets, redirects, fail-over, balancing."""

    KIND: ClassVar[str] = "service-resolver"

    default_subset: str = text("DefaultSubset", "Of calls that name none.", check=checks.subset_name)
    subsets: Mapping[str, Subset] = keyed("Subsets", Subset, "By name.", check=checks.subset_name)
    redirect: Redirect | None = nested("Redirect", Redirect, "All calls go there instead.")
    failover: Mapping[str, Failover] = keyed(
        "Failover", Failover, "By subset, or `*`.", check=checks.subset_or_any
    )
    connect_timeout_ms: int = duration("ConnectTimeout", "5s by default.", CONNECT_TIMEOUT_MS_MAX)
    request_timeout_ms: int = duration("RequestTimeout", "Where the route has none.")
    balancer: LoadBalancer | None = nested("LoadBalancer", LoadBalancer, "Of every caller.")
    locality: PrioritizeByLocality | None = nested(
        "PrioritizeByLocality", PrioritizeByLocality, "Near ones first."
    )

    def check(self, path: str) -> None:
        refuse_unless(
            not self.default_subset or self.default_subset in self.subsets,
            path, "DefaultSubset", f"{self.default_subset!r} is none of Subsets",
        )  # fmt: skip
        for name in self.failover:
            refuse_unless(
                name == "*" or name in self.subsets, path, f'Failover["{name}"]', "is none of Subsets"
            )
        refuse_unless(not (self.redirect and self.failover), path, "Redirect", "not with Failover")
