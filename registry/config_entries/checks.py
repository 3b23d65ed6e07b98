"""Judges of single values that several kinds share. Each raises InvalidEntry."""

import ipaddress
import re
from urllib.parse import urlsplit

from .errors import InvalidEntry

NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,128}")
SUBSET = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # a DNS label (RFC 1035, 2.3.1), as in Consul
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[\x20-\x7e\x80-\U0010ffff\t]*")  # RFC 9110, 5.5
_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")

# What is about one connection or one hop (RFC 9110, 7.6.1; RFC 9113, 8.2.2), frames the message, or says who
# calls: an edit of it would break the message or forge the caller.
_HOP = ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te", "trailer")
FIXED_HEADERS = frozenset((*_HOP, "host", "content-length", "x-forwarded-client-cert"))


def service_name(value: str, path: str) -> None:
    if not NAME.fullmatch(value):
        raise InvalidEntry(path, f"{value[:64]!r} is no service name: use letters, digits, '.', '-', '_'")


def service_or_any(value: str, path: str) -> None:
    if value != "*":
        service_name(value, path)


def subset_name(value: str, path: str) -> None:
    if not SUBSET.fullmatch(value):
        raise InvalidEntry(path, f"{value[:64]!r} is no subset name: use lower-case letters, digits and '-'")


def subset_or_any(value: str, path: str) -> None:
    if value != "*":
        subset_name(value, path)


def http_path(value: str, path: str) -> None:
    if not value.startswith("/") or not _VALUE.fullmatch(value) or "?" in value or "#" in value:
        raise InvalidEntry(path, f"{value[:64]!r} must begin with / and have neither query nor fragment")


def method(value: str, path: str) -> None:
    if not _TOKEN.fullmatch(value) or value != value.upper():
        raise InvalidEntry(path, f"{value[:64]!r} is no HTTP method: write it in capitals, as GET")


def header_name(value: str, path: str) -> None:
    if not _TOKEN.fullmatch(value):
        raise InvalidEntry(
            path, f"{value[:64]!r} is no header name; pseudo-headers such as :path have fields"
        )


def header_value(value: str, path: str) -> None:
    if not _VALUE.fullmatch(value):
        raise InvalidEntry(path, "holds a control character")


def editable_header(value: str, path: str) -> None:
    header_name(value, path)
    if value.lower() in FIXED_HEADERS or value.lower().startswith("grpc-"):
        raise InvalidEntry(path, f"{value.lower()!r} belongs to the message or the hop and cannot be edited")


def header_edit(key: str, value: str, path: str) -> None:
    editable_header(key, path)
    header_value(value, f"{path}.{key}")


def grpc_name(value: str, path: str) -> None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", value):
        raise InvalidEntry(path, f"{value[:64]!r} is no name of protobuf")


def outside_host(value: str, path: str) -> None:
    """A host name, one with a wildcard label, an address or a CIDR block."""
    if _HOST.fullmatch(value) and len(value) <= 253 and not value.replace(".", "").isdigit():
        return
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise InvalidEntry(
            path, f"{value[:64]!r} is none of api.example.com, *.example.com, an address, a CIDR block"
        ) from None


def ip_address(value: str, path: str) -> None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise InvalidEntry(path, f"{value[:64]!r} is not an IP address") from None


def url(value: str, path: str) -> None:
    if not re.fullmatch(r"(https?|grpcs?)://[A-Za-z0-9\[\]._:-]+(/[^\s]*)?", value):
        raise InvalidEntry(path, f"{value[:64]!r} is no URL")
    try:
        parts = urlsplit(value)
        sound = parts.hostname and parts.port != 0
    except ValueError:  # a port beyond 65535, a bracket that does not close
        sound = None
    if not sound:
        raise InvalidEntry(path, f"{value[:64]!r} names no host and port that can be")
