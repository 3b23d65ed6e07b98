"""Sans-IO. Numbers of a resource, checked. 0 on the wire was not set (proto3) and takes the default."""

from ..errors import InvalidResource

PERCENT_MAX = 100
PPM_MAX = 1_000_000
NAME_BYTES_MAX = 256


def label(resource: str, name: str) -> str:
    """A name for people and for labels of metrics."""
    if not name or len(name.encode()) > NAME_BYTES_MAX or not name.isprintable():
        raise InvalidResource(resource, f"has no name that can be shown in {NAME_BYTES_MAX} bytes")
    return name


def number(resource: str, field: str, value: int, default: int, value_max: int) -> int:
    """`value`, or `default` where it is 0."""
    if value > value_max:
        raise InvalidResource(resource, f"{field} {value} is over {value_max}")
    return value or default


def seconds(resource: str, field: str, ms: int, default_s: float, ms_max: int) -> float:
    """Milliseconds as seconds, or `default_s` where they are 0."""
    return number(resource, field, ms, 0, ms_max) / 1000 or default_s
