"""Config entries: what each kind takes and refuses, and that nothing that is taken is lost or changed."""

import dataclasses
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.config_entries.entry import Entry
from registry.config_entries.errors import InvalidEntry, UnreadableEntry
from registry.config_entries.kinds import ENTRY_BYTES_MAX, KINDS, NOT_YET, decoded, encoded, entry_of, parse
from registry.config_entries.schema import Spec, fields_of, show
from registry.config_entries.service_defaults import UpstreamConfig


def _entry(kind: str, **fields: Any) -> Entry:
    return entry_of({"Kind": kind, "Name": KINDS[kind].ONLY_NAME or "web", **fields})


HEADER = [{"Name": "x", "Exact": "1"}]
DELAY = {"Fixed": "1s"}
CANARY = {"ServiceSubset": "v2", "Steps": [1, 100], "Interval": "1m"}
END = "2026-03-01T10:00:00Z"
PROVIDER = {"Local": {"JWKS": "eyJrZXlzIjpbeyJrdHkiOiJFQyJ9XX0="}}
GOOD: list[tuple[str, dict[str, Any]]] = [
    ("service-defaults", {"Protocol": "grpc", "MaxInboundConnections": 10, "MutualTLSMode": "strict"}),
    (
        "service-defaults",
        {"RateLimits": {"InstanceLevel": {"RequestsPerSecond": 1.5, "RequestsMaxBurst": 3}}},
    ),
    ("service-defaults", {"UpstreamConfig": {"Overrides": [{"Name": "a", "Limits": {"MaxConnections": 1}}]}}),
    ("service-defaults", {"HealthChecks": [{"Interval": "1s", "GRPC": {}}, {"TCP": True}]}),
    (
        "proxy-defaults",
        {"Config": {"protocol": "http", "envoy_tracing_json": "{}"}, "AccessLogs": {"Enabled": True}},
    ),
    ("proxy-defaults", {"Tracing": {"SamplePercent": 0.1, "OTLPEndpoint": "http://c:4318"}}),
    (
        "service-router",
        {"Routes": [{"Match": {"HTTP": {"PathRegex": "/a.*", "Methods": ["GET"], "Header": HEADER}}}]},
    ),
    ("service-router", {"Routes": [{"Match": {"GRPC": {"Service": "shop.Orders", "Method": "Get"}}}]}),
    (
        "service-router",
        {"Routes": [{"Destination": {"NumRetries": 3, "RetryOn": ["unavailable"], "PerTryTimeout": "1s"}}]},
    ),
    (
        "service-splitter",
        {"Splits": [{"Weight": 99.99}, {"Weight": 0.01, "Service": "b"}], "Sticky": [{"SourceIP": True}]},
    ),
    (
        "service-resolver",
        {"Subsets": {"v1": {"Filter": "Service.Meta.v == 1"}}, "Failover": {"v1": {"Service": "b"}}},
    ),
    ("service-resolver", {"Redirect": {"Service": "b", "ServiceSubset": "v2", "Datacenter": "dc2"}}),
    (
        "service-resolver",
        {"LoadBalancer": {"Policy": "ring_hash", "HashPolicies": [{"Field": "header", "FieldValue": "x"}]}},
    ),
    ("service-intentions", {"Sources": [{"Name": "*", "Action": "deny", "Type": "consul"}]}),
    (
        "service-intentions",
        {"Sources": [{"Name": "a", "Permissions": [{"Action": "allow", "GRPC": {"Method": "Get"}}]}]},
    ),
    (
        "mesh",
        {"HTTP": {"Incoming": {"RequestNormalization": {"MergeSlashes": True}}}, "TLS": {"Incoming": {}}},
    ),
    ("jwt-provider", {"Issuer": "i", "JSONWebKeySet": PROVIDER, "Locations": [{"Cookie": {"Name": "t"}}]}),
    ("exported-services", {"Services": [{"Name": "*", "Consumers": [{"Peer": "dc2"}]}]}),
    ("service-faults", {"Faults": [{"Name": "slow", "Percent": 5, "Delay": DELAY, "EndsAt": END}]}),
    (
        "service-canary",
        {
            "ServiceSubset": "v2",
            "Steps": [0.5, 25, 100],
            "Interval": "1m0s",
            "MaxErrorPercent": 0.1,
            "MaxP99": "300ms",
            "Status": {"Phase": "running", "Step": 1, "Before": {"Kind": "x"}, "SplitterIndex": 2**40},
        },
    ),
    ("service-rate-limits", {"Limits": [{"Name": "l", "RequestsPerSecond": 5, "PerCaller": True}]}),
    (
        "egress",
        {
            "BindPort": 9000,
            "Rules": [{"Name": "r", "Hosts": ["*.example.com", "10.0.0.0/8"], "Ports": [443]}],
        },
    ),
]


@pytest.mark.parametrize(("kind", "fields"), GOOD)
def test_good_entries_are_kept_whole(kind: str, fields: dict[str, Any]) -> None:
    entry = _entry(kind, **fields)
    shown = show(entry)
    assert {key: shown[key] for key in fields} == fields
    assert decoded(encoded(entry)) == entry


def test_every_kind_is_tried() -> None:
    assert {kind for kind, _ in GOOD} == set(KINDS)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("service-defaults", {"Mode": "transparent"}, "Mode: is not supported"),
    ("service-defaults", {"EnvoyExtensions": [{"Name": "x"}]}, "EnvoyExtensions: is not supported"),
    ("service-defaults", {"MutualTLSMode": "permissive"}, "MutualTLSMode: 'permissive' is none of strict"),
    ("service-defaults", {"Namespace": "other"}, "Namespace: is not supported"),
    (
        "service-defaults",
        {"UpstreamConfig": {"Overrides": [{}]}},
        "UpstreamConfig.Overrides[0].Name: is missing",
    ),
    ("service-defaults", {"Protocol": "http", "protocol": "tcp"}, "Protocol: is written twice"),
    ("proxy-defaults", {"Config": {"protocol": "udp"}}, "Config.protocol: 'udp' is none of"),
    ("proxy-defaults", {"AccessLogs": {"Type": "file"}}, "AccessLogs.Path: goes with Type file"),
    ("proxy-defaults", {"Tracing": {"OTLPEndpoint": "c:4318"}}, "Tracing.OTLPEndpoint: 'c:4318' is no URL"),
    ("proxy-defaults", {"Tracing": {"OTLPEndpoint": "grpc://c:70000"}}, "names no host and port"),
    ("proxy-defaults", {"Tracing": {"OTLPEndpoint": "http://[::1:4318"}}, "names no host and port"),
    (
        "service-router",
        {"Routes": [{"Match": {"HTTP": {"PathExact": "x"}}}]},
        "Routes[0].Match.HTTP.PathExact: 'x'",
    ),
    (
        "service-router",
        {"Routes": [{"Match": {"HTTP": {"PathRegex": "("}}}]},
        "Routes[0].Match.HTTP.PathRegex: '('",
    ),
    (
        "service-router",
        {"Routes": [{"Match": {"HTTP": {"Header": [{"Name": ":path", "Present": True}]}}}]},
        "pseudo",
    ),
    ("service-router", {"Routes": [{"Match": {"HTTP": {"Methods": ["get"]}}}]}, "write it in capitals"),
    ("service-router", {"Routes": [{"Destination": {"PrefixRewrite": "/"}}]}, "needs Match.HTTP.PathPrefix"),
    (
        "service-router",
        {"Routes": [{"Destination": {"NumRetries": 21}}]},
        "Destination.NumRetries: must be from 0 to 20",
    ),
    (
        "service-router",
        {"Routes": [{"Destination": {"RequestTimeout": "1y"}}]},
        "must be a duration such as 30s",
    ),
    (
        "service-router",
        {"Routes": [{"Destination": {"RequestHeaders": {"Set": {"X-Forwarded-Client-Cert": "x"}}}}]},
        "cannot be edited",
    ),
    (
        "service-router",
        {"Routes": [{"Destination": {"RequestHeaders": {"Set": {"x": "a\nb"}}}}]},
        "control character",
    ),
    ("service-canary", {**CANARY, "ServiceSubset": ""}, "ServiceSubset: is missing"),
    ("service-canary", {**CANARY, "StableSubset": "v2"}, "StableSubset: is the new version itself"),
    ("service-canary", {**CANARY, "Steps": []}, "Steps: is missing"),
    ("service-canary", {**CANARY, "Steps": [5, 5]}, "Steps: must rise"),
    ("service-canary", {**CANARY, "Steps": [0, 5]}, "Steps: must rise, from above 0"),
    ("service-canary", {**CANARY, "Steps": [1, 101]}, "Steps[1]: must be from 0 to 100"),
    ("service-canary", {**CANARY, "Steps": [0.001]}, "Steps: must be in steps of 0.01"),
    ("service-canary", {**CANARY, "Interval": "900ms"}, "Interval: must be 1s at least"),
    ("service-canary", {**CANARY, "MaxP99": "11s"}, "MaxP99: must be from 0s to 10s"),
    ("service-canary", {**CANARY, "MinRequests": 0}, "MinRequests: must be from 1"),
    ("service-splitter", {"Splits": [{"Weight": 50}, {"Weight": 49.99}]}, "must be 100, not 99.99"),
    (
        "service-splitter",
        {"Splits": [{"Weight": 99.995}, {"Weight": 0.005}]},
        "Splits[0].Weight: must be in steps",
    ),
    ("service-splitter", {"Splits": [{"Weight": 50}, {"Weight": 50}]}, "Splits[1]: names the same"),
    (
        "service-resolver",
        {"Subsets": {"v1": {"Filter": "Service.Mta.v == 1"}}},
        'Subsets["v1"].Filter: Selector',
    ),
    ("service-resolver", {"DefaultSubset": "v1"}, "DefaultSubset: 'v1' is none of Subsets"),
    ("service-resolver", {"Failover": {"v1": {"Service": "b"}}}, 'Failover["v1"]: is none of Subsets'),
    ("service-resolver", {"Failover": {"*": {}}}, 'Failover["*"]: one of Service'),
    ("service-resolver", {"Redirect": {}}, "Redirect: is empty"),
    ("service-resolver", {"Redirect": {"Service": "b", "Peer": "p"}}, "Redirect.Peer: is not supported"),
    ("service-resolver", {"LoadBalancer": {"HashPolicies": [{"SourceIP": True}]}}, "needs Policy ring_hash"),
    ("service-intentions", {}, "Sources: is missing"),
    ("service-intentions", {"Sources": [{"Name": "a"}]}, "Sources[0].Action: give either"),
    ("mesh", {"TLS": {"Incoming": {"TLSMaxVersion": "TLSv1_2"}}}, "TLSMaxVersion: 'TLSv1_2' is none of"),
    ("mesh", {"AllowEnablingPermissiveMutualTLS": True}, "is not supported"),
    ("jwt-provider", {}, "JSONWebKeySet: is missing"),
    ("jwt-provider", {"JSONWebKeySet": {"Local": {"JWKS": "AAAA"}}}, "JWKS: must be base64"),
    (
        "jwt-provider",
        {"JSONWebKeySet": {"Local": {"JWKS": "eyJrZXlzIjpbeyJrIjoieCJ9XX0="}}},
        "private or symmetric",
    ),
    (
        "service-faults",
        {"Faults": [{"Name": "x", "Delay": DELAY}]},
        "EndsAt: is missing: a fault must end by itself",
    ),
    ("service-faults", {"Faults": [{"Name": "x", "EndsAt": END}]}, "Faults[0]: give Abort, Delay"),
    ("service-faults", {"Faults": [{"Name": "x", "Delay": DELAY, "EndsAt": "2026-03-01"}]}, "is no time"),
    ("service-rate-limits", {"Limits": [{"Name": "l"}]}, "RequestsPerSecond: must be above 0"),
    ("egress", {"BindAddress": "10.0.0.1"}, "BindAddress: must be loopback"),
    ("egress", {"Rules": [{"Name": "r", "Hosts": ["http://x"]}]}, "Rules[0].Hosts[0]: 'http://x' is none of"),
]


@pytest.mark.parametrize(("kind", "fields", "says"), BAD)
def test_bad_entries_are_refused_by_field_and_reason(kind: str, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidEntry) as refused:
        _entry(kind, **fields)
    assert says in str(refused.value)


def test_what_is_not_there_yet_says_so() -> None:
    for kind in NOT_YET:
        with pytest.raises(UnreadableEntry, match="not supported yet"):
            entry_of({"Kind": kind, "Name": "x"})


def test_entries_are_bounded() -> None:
    with pytest.raises(InvalidEntry, match="over"):
        parse(b" " * (ENTRY_BYTES_MAX + 1))


def test_hcl_blocks_and_floats_are_what_they_mean() -> None:
    entry = _entry("service-splitter", Splits={"Weight": 100.0, "RequestHeaders": [{"Set": [{"a": "b"}]}]})
    assert show(entry)["Splits"] == [{"Weight": 100, "RequestHeaders": {"Set": {"a": "b"}}}]


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda it: st.lists(it) | st.dictionaries(st.text(), it),
    )
)
def test_any_json_is_an_entry_or_refused(value: Any) -> None:
    for raw in (value, {"Kind": "service-router", "Name": "a", "Routes": value}):
        try:
            entry_of(raw)
        except InvalidEntry as refused:
            assert "\n" not in str(refused)[:20]


_SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.booleans(), st.integers(-1, 101), st.sampled_from([0.5, 100.0]),
    st.sampled_from(["", "a", "v1", "/x", "1s", "GET", "allow", "http", "header", "*", END, "https://a/b"]),
)  # fmt: skip


def _of(spec: Spec, depth: int) -> st.SearchStrategy[Any]:
    """Values for a field, most of them of about the right shape."""
    if spec.inner is None or not depth:
        return st.one_of(
            _SCALARS, st.lists(_SCALARS, max_size=2), st.dictionaries(st.sampled_from("av"), _SCALARS)
        )
    inner = _object(spec.inner, depth - 1)
    return st.one_of(inner, st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["*", "v1"]), inner))


def _object(kind: type, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    fields = {known.spec.name: known.spec for known in fields_of(kind).values()}
    names = st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True)
    return names.flatmap(
        lambda some: st.fixed_dictionaries({name: _of(fields[name], depth) for name in some})
    )


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_is_taken_is_written_back_the_same(kind: str, data: st.DataObject) -> None:
    fields = data.draw(_object(KINDS[kind], 3))
    try:
        entry = _entry(kind, **{key: it for key, it in fields.items() if key not in ("Kind", "Name")})
    except InvalidEntry:
        return
    body = encoded(entry)
    assert decoded(body) == entry
    assert encoded(decoded(body)) == body
    assert orjson.loads(body) == show(entry)


def test_registrations_may_say_what_others_read() -> None:
    from registry.config_entries.schema import read

    raw = {"connect_timeout_ms": 5, "limits": {"max_connections": 3}, "envoy_x": 1}
    found = read(UpstreamConfig, raw, "Config", is_lenient=True)
    assert (found.connect_timeout_ms, found.limits and found.limits.max_connections) == (5, 3)
    assert dataclasses.replace(found, connect_timeout_ms=0, limits=None) == UpstreamConfig()
