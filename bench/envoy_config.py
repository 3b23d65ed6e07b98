"""Envoy's side of the comparison, as its configuration: the features that Weft has on, and no others.

What a mesh usually adds is off, in Envoy's favour: access log, request ids, x-envoy-* headers, stream idle
timers.
"""

from typing import Any

from .pki import Leaf
from .workloads import path

Json = dict[str, Any]

_TYPES = "type.googleapis.com/envoy"
_FILTERS = f"{_TYPES}.extensions.filters.http"
_COLLECTOR = "collector"
_TLS = f"{_TYPES}.extensions.transport_sockets.tls.v3"


def outbound(port: int, peer_port: int, leaf: Leaf, root: str, peer_uri: str, *, http1: bool = False) -> Json:
    """The caller's proxy: plaintext in, mTLS out; balancing, ejection, two retries within a budget."""
    upstream = _cluster("peer", peer_port) | {
        "lb_policy": "LEAST_REQUEST",
        "outlier_detection": {
            "consecutive_5xx": 5,
            "interval": "1s",
            "base_ejection_time": "30s",
            "max_ejection_time": "300s",
            "max_ejection_percent": 50,
            "failure_percentage_threshold": 85,
            "failure_percentage_minimum_hosts": 1,
            "enforcing_failure_percentage": 100,
        },
        "circuit_breakers": {
            "thresholds": [{"retry_budget": {"budget_percent": {"value": 20.0}, "min_retry_concurrency": 3}}]
        },
        "transport_socket": {
            "name": "tls",
            "typed_config": {
                "@type": f"{_TLS}.UpstreamTlsContext",
                "max_session_keys": 0,
                "common_tls_context": _tls(leaf, _validation(root) | _expects(peer_uri)),
            },
        },
    }
    route = {
        "retry_policy": {"retry_on": "connect-failure,refused-stream,reset,unavailable", "num_retries": 2}
    }
    return _bootstrap(_listener(port, _http("outbound", "peer", [], route, http1=http1)), upstream)


def inbound(
    port: int, app_port: int, leaf: Leaf, root: str, allowed_uri: str, *, http1: bool = False
) -> Json:
    """The callee's proxy: mTLS in, RBAC on the caller's SPIFFE id, path and method, plaintext to the app."""
    principal = {"authenticated": {"principal_name": {"exact": allowed_uri}}}
    asked = [
        {"url_path": {"path": {"exact": path(http1)}}},
        {"header": {"name": ":method", "string_match": {"exact": "POST"}}},
    ]
    rbac = {
        "name": "rbac",
        "typed_config": {
            "@type": f"{_FILTERS}.rbac.v3.RBAC",
            "rules": {
                "action": "ALLOW",
                "policies": {
                    "caller": {"permissions": [{"and_rules": {"rules": asked}}], "principals": [principal]}
                },
            },
        },
    }
    http = _http("inbound", "app", [rbac], {}) | {
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"uri": True},
        "normalize_path": True,  # or rules on paths could be led around
    }
    listener = _listener(port, http)
    listener["filter_chains"][0]["transport_socket"] = {
        "name": "tls",
        "typed_config": {
            "@type": f"{_TLS}.DownstreamTlsContext",
            "require_client_certificate": True,
            "disable_stateless_session_resumption": True,
            "disable_stateful_session_resumption": True,
            "common_tls_context": _tls(leaf, _validation(root)),
        },
    }
    return _bootstrap(listener, _cluster("app", app_port, http1=http1))


def _bootstrap(listener: Json, cluster: Json) -> Json:
    return {
        "admin": {"address": _address(0)},
        "static_resources": {"listeners": [listener], "clusters": [cluster, _cluster(_COLLECTOR, 1)]},
    }


def _address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _listener(port: int, http: Json) -> Json:
    filters = [{"name": "http", "typed_config": http}]
    return {"name": "in", "address": _address(port), "filter_chains": [{"filters": filters}]}


def _http(name: str, cluster: str, filters: list[Json], route: Json, *, http1: bool = False) -> Json:
    router = {
        "name": "router",
        "typed_config": {"@type": f"{_FILTERS}.router.v3.Router", "suppress_envoy_headers": True},
    }
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"} | route}]
    return {
        "@type": f"{_TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "HTTP1" if http1 else "HTTP2",
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": "0s",
        "tracing": _tracing(),
        "http_filters": [*filters, router],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }


def _tracing() -> Json:
    """Joins or begins a trace (W3C traceparent) and samples none: nobody need listen where spans go."""
    share = {f"{kind}_sampling": {"value": 0.0} for kind in ("client", "random", "overall")}
    config = {
        "@type": f"{_TYPES}.config.trace.v3.OpenTelemetryConfig",
        "service_name": "bench",
        "grpc_service": {"envoy_grpc": {"cluster_name": _COLLECTOR}},
    }
    return {**share, "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": config}}


def _cluster(name: str, port: int, *, http1: bool = False) -> Json:
    options = {
        "@type": f"{_TYPES}.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {f"http{'' if http1 else 2}_protocol_options": {}},
    }
    endpoint = {"endpoint": {"address": _address(port)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        },
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _tls(leaf: Leaf, validation: Json) -> Json:
    return {
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [
            {"certificate_chain": {"filename": str(leaf.chain)}, "private_key": {"filename": str(leaf.key)}}
        ],
        "validation_context": validation,
    }


def _validation(root: str) -> Json:
    return {"trusted_ca": {"filename": root}}


def _expects(uri: str) -> Json:
    return {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": uri}}]}
