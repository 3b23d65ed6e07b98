"""Sans-IO. Which headers travel further than one connection (RFC 9110, 7.6.1)."""

from collections.abc import Iterable

from multidict import CIMultiDict, MultiMapping

_HOP_BY_HOP = frozenset(
    (
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    )
)


def end_to_end(headers: MultiMapping[str], without: Iterable[str] = ()) -> CIMultiDict[str]:
    """Headers without those of one connection, those that it names, and `without` (in lower case)."""
    named = {it.strip().lower() for value in headers.getall("Connection", ()) for it in value.split(",")}
    left_out = _HOP_BY_HOP | named | set(without)
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in left_out)
