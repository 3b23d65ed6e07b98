"""A decoded head, and what RFC 9112 says about the connection beside it."""

from ..h2.block import Block, Extra, Head


class Message(Block):
    """A Block as the switch knows it, and how its body is framed. Immutable by contract: memos share it."""

    __slots__ = (
        "chunked", "expects", "keep_alive", "keep_alive_s", "length", "method", "upgrade", "version",
        "websocket_key",
    )  # fmt: skip

    def __init__(self, head: Head, extra: Extra, version: bytes) -> None:
        super().__init__(head, extra)
        self.version = version  # b"1.1" or b"1.0"
        self.method = b""  # of a request, as it stands on its line
        self.length = -1  # content-length; -1: not given
        self.chunked = False
        self.keep_alive = False  # the peer leaves the connection open after this message
        self.keep_alive_s = 0  # as its Keep-Alive field says; 0: not said
        self.expects = False  # 100-continue
        self.upgrade = b""  # the protocol asked for, or switched to
        self.websocket_key = b""  # of a request

    def beside(self, extra: Extra) -> "Message":
        """The same, with other varying fields."""
        twin = Message(self.head, extra, self.version)
        twin.method = self.method
        twin.length, twin.chunked = self.length, self.chunked
        twin.keep_alive, twin.keep_alive_s = self.keep_alive, self.keep_alive_s
        twin.expects, twin.upgrade, twin.websocket_key = self.expects, self.upgrade, self.websocket_key
        return twin
