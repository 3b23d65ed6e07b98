"""The name that a TLS client asks for, read from its first bytes (RFC 8446 section 4.1.2, RFC 6066)."""

from enum import Enum

# Records are at most this long; a hello over several of them is more than any client sends.
BYTES_MAX = 5 + (1 << 14)
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0


class Hello(Enum):
    PENDING = "more is needed"
    NO_TLS = "another protocol"
    NAMELESS = "TLS, and no name that could be read"


def server_name(data: bytes) -> Hello | str:
    """The name in lower case; NAMELESS also for a hello that is malformed."""
    if data[0] != _HANDSHAKE:
        return Hello.NO_TLS
    if len(data) < 5:
        return Hello.PENDING
    if data[1] != 3:
        return Hello.NO_TLS
    end = 5 + int.from_bytes(data[3:5], "big")
    if end > BYTES_MAX:
        return Hello.NAMELESS
    if len(data) < end:
        return Hello.PENDING
    return _name(_Reader(data[5:end]))


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def take(self, size: int) -> bytes:
        taken = self.data[self.at : self.at + size]
        if len(taken) < size:
            raise ValueError("cut off")
        self.at += size
        return taken

    def vector(self, size: int) -> bytes:
        """What follows its own length, of `size` octets."""
        return self.take(self.number(size))


def _name(record: _Reader) -> Hello | str:
    try:
        if record.number(1) != _CLIENT_HELLO:
            return Hello.NAMELESS
        hello = _Reader(record.vector(3))
        hello.take(2 + 32)  # version and random
        for size in (1, 2, 1):  # session id, cipher suites, compression methods
            hello.vector(size)
        extensions = _Reader(hello.vector(2))
        while extensions.at < len(extensions.data):
            kind, content = extensions.number(2), extensions.vector(2)
            if kind == _SERVER_NAME:
                names = _Reader(_Reader(content).vector(2))
                if names.number(1) == 0:
                    return names.vector(2).decode("ascii").lower().removesuffix(".")
    except ValueError:  # UnicodeDecodeError is one
        pass
    return Hello.NAMELESS
