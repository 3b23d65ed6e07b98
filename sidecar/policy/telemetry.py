"""Sans-IO. How requests are traced and logged, out of the registry's resource."""

from urllib.parse import urlsplit

from weft.pb.mesh.v1 import mesh_pb2

from ..errors import InvalidResource
from ..snapshot import TelemetryPolicy

PPM = 1_000_000
PATH_BYTES_MAX = 1024
ENDPOINT_CHARS_MAX = 1024
_SCHEMES = ("http", "https", "grpc", "grpcs")


def telemetry_of(proxy: mesh_pb2.Proxy) -> TelemetryPolicy:
    """Raises InvalidResource."""
    told = proxy.telemetry
    for name, ppm in (("trace_ppm", told.trace_ppm), ("access_log_ppm", told.access_log_ppm)):
        if ppm > PPM:
            raise InvalidResource("proxy", f"telemetry.{name} is {ppm}, the most is {PPM}")
    return TelemetryPolicy(
        trace_ppm=told.trace_ppm,
        otlp_endpoint=_endpoint(told.otlp_endpoint),
        access_log_ppm=told.access_log_ppm,
        access_log_errors=told.access_log_errors,
        access_log_path=_path(told.access_log_path),
    )


def _endpoint(text: str) -> str:
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        sound = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        sound = None
    if not sound or len(text) > ENDPOINT_CHARS_MAX:
        schemes = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise InvalidResource("proxy", f"telemetry.otlp_endpoint must be host:port after one of {schemes}")
    return text


def _path(text: str) -> str:
    if text and (not text.startswith("/") or "\0" in text or len(text.encode()) > PATH_BYTES_MAX):
        raise InvalidResource("proxy", "telemetry.access_log_path is not an absolute path of a file")
    return text
