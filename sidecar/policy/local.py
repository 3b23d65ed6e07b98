"""Sans-IO. What a proxy takes, and how it uses its application, checked into the snapshot's types."""

from weft.pb.mesh.v1 import mesh_pb2

from ..h2.settings import HEADER_LIST_BYTES_MAX
from ..snapshot import AppPolicy
from .fields import check_count
from .numbers import number, seconds
from .targets import CONNECT_TIMEOUT_MS_MAX, CONNECTIONS_MAX, health_check_of

REQUEST_TIMEOUT_MS_MAX = 0xFFFF_FFFF  # 50 days: what the contract can say
HEADERS_KB_MAX = 1024  # one caller may have a head of that size in memory, and one is being read
APP_CHECKS_MAX = 16
_KB = 1024
_DEFAULT = AppPolicy()


def app_policy_of(proxy: mesh_pb2.Proxy) -> AppPolicy:
    """Raises InvalidResource."""
    check_count("proxy", "checks of the application", len(proxy.app_checks), APP_CHECKS_MAX)
    return AppPolicy(
        connect_timeout_s=seconds(
            "proxy", "local_connect_timeout_ms", proxy.local_connect_timeout_ms,
            _DEFAULT.connect_timeout_s, CONNECT_TIMEOUT_MS_MAX,
        ),
        request_timeout_s=seconds(
            "proxy", "local_request_timeout_ms", proxy.local_request_timeout_ms, 0.0, REQUEST_TIMEOUT_MS_MAX
        ),
        checks=tuple(health_check_of("proxy", check) for check in proxy.app_checks),
    )  # fmt: skip


def connections_max_of(proxy: mesh_pb2.Proxy) -> int:
    """0: no limit beside the process's. Raises InvalidResource."""
    return number("proxy", "max_inbound_connections", proxy.max_inbound_connections, 0, CONNECTIONS_MAX)


def header_list_max_of(proxy: mesh_pb2.Proxy) -> int:
    """Raises InvalidResource."""
    said = number("proxy", "max_request_headers_kb", proxy.max_request_headers_kb, 0, HEADERS_KB_MAX)
    return said * _KB or HEADER_LIST_BYTES_MAX
