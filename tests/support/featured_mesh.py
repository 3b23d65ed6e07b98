"""A running mesh that has every feature of the data plane on, of which a well-behaved call shows nothing.

Rules match what no test sends (`x-not-there`), or everything and then do no harm. So what holds of a plain
mesh has to hold here, through all the code that a plain one leaves out.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.demo.registry import Registry
from tests.support.mesh import Member, Mesh

ABSENT = {"Name": "x-not-there", "Present": True}
_EDITS = {"Remove": ["x-not-there"], "Set": {"x-featured": "yes"}}


@dataclass(frozen=True)
class FeaturedRegistry(Registry):
    """Intentions are written as permissions about requests."""

    sources: dict[str, dict[str, str]] = field(default_factory=dict)  # destination -> source -> action

    def intend(self, source: str, destination: str, action: str) -> None:
        of_destination = self.sources.setdefault(destination, {})
        of_destination[source] = action
        self.write("service-intentions", destination, Sources=[_source(*it) for it in of_destination.items()])

    def write(self, kind: str, name: str, **fields: Any) -> None:
        """Writes a config entry."""
        self._ask("PUT", "config", {"Kind": kind, "Name": name, **fields})


def _source(name: str, action: str) -> dict[str, Any]:
    permissions = [
        {"Action": "deny", "HTTP": {"PathPrefix": "/", "Header": [ABSENT]}},
        {"Action": action, "HTTP": {"PathRegex": "/.*", "Methods": ["GET", "POST"]}},
    ]
    return {"Name": name, "Permissions": permissions}


class FeaturedMesh(Mesh):
    """Entries about a service are written before its first instance is registered."""

    registry: FeaturedRegistry

    def __init__(self, folder: Path, *flags: str) -> None:
        self._known: set[str] = set()
        super().__init__(folder, *flags)

    def start_registry(self) -> None:
        super().start_registry()
        self.registry = FeaturedRegistry(**dataclasses.asdict(self.registry))
        self.registry.write(
            "proxy-defaults", "global",
            AccessLogs={"Enabled": True, "SamplePercent": 1, "Errors": True},
            Tracing={"SamplePercent": 1},
            PrioritizeByLocality={"Mode": "failover"},
        )  # fmt: skip
        normalization = {"MergeSlashes": True, "PathWithEscapedSlashesAction": "REJECT_REQUEST"}
        self.registry.write("mesh", "mesh", HTTP={"Incoming": {"RequestNormalization": normalization}})

    def enrol(self, member: Member, proxy: dict[str, Any], **extra: Any) -> None:
        if member.service not in self._known:
            self._known.add(member.service)
            self._describe(member.service)
        super().enrol(member, proxy, **extra)

    def _describe(self, service: str) -> None:
        write = self.registry.write
        limits = {"MaxConnections": 1000, "MaxPendingRequests": 10_000, "MaxConcurrentRequests": 10_000}
        write(
            "service-defaults", service,
            MaxInboundConnections=1000,
            LocalConnectTimeoutMs=4000,
            LocalRequestTimeoutMs=600_000,
            MaxRequestHeadersKB=96,
            UpstreamConfig={"Defaults": {"Limits": limits}},
            RateLimits={"InstanceLevel": {"RequestsPerSecond": 1_000_000}},
        )  # fmt: skip
        write(
            "service-resolver", service,
            ConnectTimeout="5s",
            LoadBalancer={"Policy": "least_request", "LeastRequestConfig": {"ChoiceCount": 3}},
            Subsets={"all": {"Filter": 'Service.ID != ""'}},
        )  # fmt: skip
        splits = [{"Weight": 50, "ServiceSubset": "all"}, {"Weight": 50, "ServiceSubset": ""}]
        sticky = [{"Field": "header", "FieldValue": "user-agent"}]
        write("service-splitter", service, Splits=splits, Sticky=sticky)
        write("service-router", service, Routes=_routes(service))
        write(
            "service-rate-limits", service,
            Limits=[
                {"Name": "each", "RequestsPerSecond": 1_000_000, "PerCaller": True},
                {"Name": "none", "RequestsPerSecond": 1, "Match": {"HTTP": {"Header": [ABSENT]}}},
            ],
        )  # fmt: skip
        fault = {
            "Name": "none",
            "Percent": 100,
            "EndsAt": "2100-01-01T00:00:00Z",
            "Abort": {"HttpStatus": 503},
        }
        write("service-faults", service, Faults=[fault | {"Match": {"HTTP": {"Header": [ABSENT]}}}])


def _routes(service: str) -> list[dict[str, Any]]:
    nowhere = {"Match": {"HTTP": {"Header": [ABSENT]}}, "Destination": {"Service": f"{service}-nowhere"}}
    everything = {
        "Match": {"HTTP": {"PathPrefix": "/"}},
        "Destination": {
            "RequestTimeout": "10m",
            "IdleTimeout": "5m",
            "PerTryTimeout": "5m",
            "NumRetries": 3,
            "RetryOn": ["refused-stream", "retriable-4xx"],
            "RequestHeaders": _EDITS,
            "ResponseHeaders": _EDITS,
            "Mirrors": [{"Service": f"{service}-shadow", "Percent": 100}],
        },
    }
    return [nowhere, everything]
