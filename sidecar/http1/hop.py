"""Fields that speak of one connection (RFC 9110 section 7.6.1): read here, never passed on."""

from typing import NamedTuple

from ..h2.names import is_volatile
from .errors import BadMessage
from .heads import Fields

# Without a look at Connection: what some senders forget to name there.
HOP_BY_HOP = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"te", b"trailer"),
        *(b"transfer-encoding", b"upgrade", b"http2-settings"),
    )
)
# Naming these in Connection would make the next hop read another message, or another sender.
_NOT_TO_BE_NAMED = frozenset((b"host", b"content-length", b"transfer-encoding", b"x-forwarded-client-cert"))
_OPTIONS = frozenset((b"close", b"keep-alive", b"upgrade", b"te"))
TOKENS_MAX = 16  # of one Connection field; three are common
KEEP_ALIVE_S_MAX = 3600


class Sorted(NamedTuple):
    """The fields of one head, names in lower case."""

    passed: list[tuple[bytes, bytes]]  # what goes on
    options: frozenset[bytes]  # of Connection
    lengths: list[bytes]
    codings: list[bytes]
    hosts: list[bytes]
    upgrade: bytes
    expect: bytes
    keep_alive_s: int
    te_trailers: bool


def sort(fields: Fields) -> Sorted:
    """Takes the fields of the connection out. Raises BadMessage."""
    lower = [(name.lower(), value) for name, value in fields]
    own = {name for name, _ in lower if name in HOP_BY_HOP}
    values = {name: [v for n, v in lower if n == name] for name in own}
    options = _options(values.get(b"connection", []))
    dropped = HOP_BY_HOP | (options - _OPTIONS) | {b"content-length", b"host", b"expect"}
    return Sorted(
        passed=[field for field in lower if field[0] not in dropped],
        options=options,
        lengths=[value for name, value in lower if name == b"content-length"],
        codings=values.get(b"transfer-encoding", []),
        hosts=[value for name, value in lower if name == b"host"],
        upgrade=b",".join(values.get(b"upgrade", [])) if b"upgrade" in options else b"",
        expect=b",".join(value.lower() for name, value in lower if name == b"expect"),
        keep_alive_s=_timeout(values.get(b"keep-alive", [])),
        te_trailers=any(b"trailers" in value.lower() for value in values.get(b"te", [])),
    )


def keeps_alive(version: bytes, options: frozenset[bytes]) -> bool:
    """RFC 9112 section 9.3."""
    if b"close" in options:
        return False
    return version == b"1.1" or b"keep-alive" in options


def _options(values: list[bytes]) -> frozenset[bytes]:
    tokens = [token.strip(b" \t").lower() for value in values for token in value.split(b",")]
    if len(tokens) > TOKENS_MAX:
        raise BadMessage("connection names too many fields")
    options = frozenset(token for token in tokens if token)
    if options & _NOT_TO_BE_NAMED or any(map(is_volatile, options)):
        raise BadMessage("connection names a field that belongs to the message")
    return options


def _timeout(values: list[bytes]) -> int:
    for part in (part for value in values for part in value.split(b",")):
        name, _, number = part.strip(b" \t").partition(b"=")
        if name.lower() == b"timeout" and number.isdigit() and len(number) <= 6:
            return min(int(number), KEEP_ALIVE_S_MAX)
    return 0
