# Hot path: bench/http1.py
"""Heads of HTTP/1.1 as the Blocks of the switch.

It has the face of `h2.decoder.Decoder`, with a whole head as the "block": HTTP/1.1 has no state between
heads, so equal octets always say the same, and the memo is never void.
"""

from ..h2.block import NO_EXTRA, Block, Field, Head, extra_of
from ..h2.errors import StreamFault
from ..h2.fields import is_name, is_value, request_head, response_head, trailers_head
from ..h2.memos import Section
from ..h2.names import READ_ALWAYS, is_sensitive, is_volatile
from ..h2.primitives import encode_raw
from . import strict, websocket
from .errors import BadMessage
from .heads import read_request, read_response, read_trailers
from .hop import Sorted, keeps_alive, sort
from .message import Message

LITERAL_BYTES = 32  # that a field counts for on top of its strings (RFC 9113 section 6.5.2)
# Bounds of the memos of one connection; each is emptied when full.
NAMES_MAX = 128
NAME_BYTES_MAX = 64
STABLE_MAX = 64
STABLE_BYTES_MAX = 4096
# A message cannot be framed, routed or authorised by what comes after its body (RFC 9110 section 6.5.1).
_NO_TRAILERS = frozenset(
    (
        *(b"authorization", b"connection", b"content-encoding", b"content-length", b"content-range"),
        *(b"content-type", b"cookie", b"host", b"keep-alive", b"max-forwards", b"te", b"trailer"),
        *(b"transfer-encoding", b"upgrade", b"x-forwarded-client-cert"),
    )
)


class Decoder:
    """Of one direction of one connection. `memo` and `trailer_memo` map octets seen to their Message."""

    __slots__ = (
        "_by_stable",
        "_head_of",
        "_last",
        "_last_raw",
        "_names",
        "_promoted",
        "_section",
        "list_max",
        "memo",
        "trailer_memo",
    )

    def __init__(
        self,
        *,
        requests: bool,
        authority: bytes = b"",
        promoted: frozenset[bytes] = frozenset(),
        list_max: int = strict.HEAD_BYTES_MAX,
    ) -> None:
        """`authority` stands for the Host that HTTP/1.0 may leave out; `list_max` is octets, of a head as it
        came and of its fields as RFC 9113 counts them."""
        self.list_max = list_max
        self._promoted = promoted
        self._section = Section(request_head if requests else response_head, list_max)
        self.memo = self._section.memo
        self.trailer_memo: dict[bytes, Block] = {}  # stays empty: trailers are rare
        self._by_stable: dict[bytes, Message] = {}  # heads without their varying lines
        self._names: dict[bytes, bytes] = {}
        self._head_of = _Requests(authority).message if requests else _response
        self._last_raw = b""
        self._last: Message | None = None

    def promote(self, names: frozenset[bytes]) -> None:
        """From now on fields of exactly these names are always in the head. Clears the memos."""
        self._promoted = names
        self._section.forget_blocks()
        self._section.heads.clear()
        self._by_stable.clear()
        self._names.clear()
        self._last = None

    def decode(self, raw: bytes, trailers: bool = False) -> Message:
        """What a whole head or trailer section says. Raises BadMessage."""
        if trailers:
            return self._decode_trailers(raw)
        known = self.memo.get(raw)
        if known is not None:
            return known  # type: ignore[return-value]  # ours are all Messages
        if raw is self._last_raw and self._last is not None:  # too long for the memo, and asked for twice
            return self._last
        stable, literals = self._without_volatile(raw)
        message = self._by_stable.get(stable) or self._decode_stable(stable)
        if literals:
            if message.head.size + sum([LITERAL_BYTES + len(x) for x in literals]) > self.list_max:
                raise BadMessage(f"the fields are over {self.list_max} bytes", 431)
            message = message.beside(extra_of(b"".join(literals)))
        else:
            self._section.keep_block(raw, message)
        self._last_raw, self._last = raw, message
        return message

    def _without_volatile(self, raw: bytes) -> tuple[bytes, list[bytes]]:
        """The head without the lines whose values differ from request to request, and those as literals.

        A line that is not plainly one of them stays where it is, for llhttp to judge. 4 µs for a head that
        differs from the last one in a trace id, against 17.
        """
        lines, literals = raw.split(b"\r\n"), []
        names = self._names
        kept = [lines[0]]
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            known = names.get(name)
            if known is None and colon:
                known = self._name(name)
            if known:
                value = value.strip(b" \t")
                if is_value(value):
                    literals.append(known + encode_raw(value))
                    continue
            kept.append(line)
        if not literals:
            return raw, literals
        if len(lines) > strict.FIELDS_MAX:
            raise BadMessage(f"more than {strict.FIELDS_MAX} fields", 431)
        return b"\r\n".join(kept), literals

    def _name(self, name: bytes) -> bytes:
        """The beginning of a literal of that name, or b"" where it belongs to the head."""
        lower = name.lower()
        wire = b""
        if is_volatile(lower) and is_name(lower) and lower not in self._promoted and lower not in READ_ALWAYS:
            wire = (b"\x10" if is_sensitive(lower) else b"\0") + encode_raw(lower)
        if len(name) <= NAME_BYTES_MAX:
            if len(self._names) >= NAMES_MAX:
                self._names.clear()
            self._names[name] = wire
        return wire

    def _decode_stable(self, raw: bytes) -> Message:
        fields, message = self._head_of(raw)
        try:
            message.head = self._section.head(tuple(fields))
        except StreamFault as fault:
            raise BadMessage(fault.reason) from None
        if message.head.size > self.list_max:
            raise BadMessage(f"the fields are over {self.list_max} bytes", 431)
        if len(raw) <= STABLE_BYTES_MAX:
            if len(self._by_stable) >= STABLE_MAX:
                self._by_stable.clear()
            self._by_stable[raw] = message
        return message

    def _decode_trailers(self, raw: bytes) -> Message:
        fields = tuple([(name.lower(), value) for name, value in read_trailers(raw)])
        if any(name in _NO_TRAILERS for name, _ in fields):
            raise BadMessage("a field that cannot stand in trailers")
        try:
            return Message(trailers_head(fields), NO_EXTRA, b"1.1")
        except StreamFault as fault:
            raise BadMessage(fault.reason) from None


_UNMADE = Head.__new__(Head)


class _Requests:
    """`authority` stands for a missing Host."""

    def __init__(self, authority: bytes) -> None:
        self._authority = authority

    def message(self, raw: bytes) -> tuple[list[Field], Message]:
        method, target, version, fields = read_request(raw)
        found = sort(fields)
        message = Message(_UNMADE, NO_EXTRA, version)
        message.method = method
        message.keep_alive = keeps_alive(version, found.options)
        authority, path = _target(method, target, self._host(found, version))
        _frame(message, found)
        _expect(message, found)
        _upgrade(message, found)
        return _request_fields(message, found, authority, path), message

    def _host(self, found: Sorted, version: bytes) -> bytes:
        """RFC 9112 section 3.2."""
        if len(found.hosts) > 1:
            raise BadMessage("host is given twice")
        if not found.hosts and version == b"1.1":
            raise BadMessage("host is missing")
        return found.hosts[0] if found.hosts else self._authority


def _target(method: bytes, target: bytes, host: bytes) -> tuple[bytes, bytes]:
    """Authority and path, from any of the four forms (RFC 9112 section 3.2)."""
    if method == b"CONNECT":
        if target.lower() != host.lower() and host:
            raise BadMessage("host is unlike the target of CONNECT")
        return target, b""
    if target[:1] == b"/":
        return host, target
    if target == b"*" and method == b"OPTIONS":
        return host, target
    scheme, slashes, rest = target.partition(b"://")
    if scheme.lower() != b"http" or not slashes:
        raise BadMessage("the target is neither a path nor an http URI")
    end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:]
    if not authority or (host and authority.lower() != host.lower()):
        raise BadMessage("host is unlike the authority of the target")
    return authority, path if path[:1] == b"/" else b"/" + path


def _frame(message: Message, found: Sorted) -> None:
    """RFC 9112 section 6.3."""
    if found.codings:
        if found.lengths:
            raise BadMessage("content-length beside transfer-encoding")
        message.chunked = strict.is_chunked(found.codings, message.version)
    elif found.lengths:
        message.length = strict.content_length(found.lengths)


def _expect(message: Message, found: Sorted) -> None:
    if found.expect == b"100-continue":
        message.expects = message.version == b"1.1"
    elif found.expect:
        raise BadMessage("an expectation other than 100-continue", 417)


def _upgrade(message: Message, found: Sorted) -> None:
    """RFC 9110 section 7.8: what is not a GET without a body, or asks for h2c, goes on without it."""
    token = found.upgrade.strip(b" \t").lower()
    plain = message.method == b"GET" and not message.chunked and message.length <= 0
    if plain and message.version == b"1.1" and token != b"h2c" and websocket.is_token(token):
        message.upgrade = token


def _request_fields(message: Message, found: Sorted, authority: bytes, path: bytes) -> list[Field]:
    if message.method == b"CONNECT":
        fields = [(b":method", b"CONNECT"), (b":authority", authority)]
    elif message.upgrade:  # RFC 8441
        fields = [(b":method", b"CONNECT"), (b":protocol", message.upgrade), (b":scheme", b"http")]
        fields += [(b":path", path), (b":authority", authority)]
    else:
        fields = [(b":method", message.method), (b":scheme", b"http"), (b":path", path)]
        if authority:
            fields.append((b":authority", authority))
    passed = found.passed
    if message.upgrade:
        keys = [value for name, value in passed if name == b"sec-websocket-key"]
        message.websocket_key = keys[0] if keys else b""
        passed = [field for field in passed if field[0] != b"sec-websocket-key"]
    fields += passed
    if found.te_trailers:
        fields.append((b"te", b"trailers"))
    if message.length >= 0 and not message.upgrade:
        fields.append((b"content-length", b"%d" % message.length))
    return fields


def _response(raw: bytes) -> tuple[list[Field], Message]:
    status, version, fields = read_response(raw)
    found = sort(fields)
    message = Message(_UNMADE, NO_EXTRA, version)
    message.keep_alive = keeps_alive(version, found.options)
    message.keep_alive_s = found.keep_alive_s
    passed = found.passed
    if status == 101:  # RFC 8441 section 5: on the other side of the bridge it is a 200
        message.upgrade = found.upgrade.strip(b" \t").lower()
        if not message.upgrade:
            raise BadMessage("101 without upgrade")
        passed = [field for field in passed if field[0] != b"sec-websocket-accept"]
        return [(b":status", b"200"), *passed], message
    _frame(message, found)
    head: list[Field] = [(b":status", b"%d" % status), *passed]
    if message.length >= 0 and status >= 200 and status != 204:
        head.append((b"content-length", b"%d" % message.length))
    return head, message


def accept_of(raw: bytes) -> bytes:
    """The Sec-WebSocket-Accept of a response's head."""
    _, _, fields = read_response(raw)
    return next((value for name, value in fields if name.lower() == b"sec-websocket-accept"), b"")
