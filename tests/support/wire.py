"""HTTP/2 peers that a test drives frame by frame: what a sound library would refuse to send."""

import asyncio
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

import hpack

from tests.support.waiting import until

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
END_STREAM, END_HEADERS, PADDED, PRIORITISED = 1, 4, 8, 32

FRAME_BYTES = 16_384  # what everybody takes

Header = tuple[str, str]
GRPC: tuple[Header, ...] = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/s/m"),
    (":authority", "orders"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
HEAD_OK: tuple[Header, ...] = ((":status", "200"), ("content-type", "application/grpc"))
TRAILERS_OK: tuple[Header, ...] = (("grpc-status", "0"),)


def frame(kind: int, flags: int = 0, sid: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + sid.to_bytes(4, "big") + payload


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def settings(*values: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *value) for value in values))


@dataclass
class Heard:
    """What came on one stream."""

    blocks: list[dict[str, str]] = field(default_factory=list)
    fields: list[Header] = field(default_factory=list)  # of all blocks, repeated ones too
    data: bytes = b""
    frames: int = 0  # of DATA
    ended: bool = False
    reset: int | None = None


class Wire(asyncio.Protocol):
    """One connection, client or server."""

    def __init__(self, preface: bytes) -> None:
        self._preface = preface
        self._buffer = b""
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder(max_header_list_size=4 * 1024 * 1024)
        self._block = b""
        self._skip = 0
        self.streams: dict[int, Heard] = {}
        self.goaways: list[tuple[int, int]] = []  # last stream id, code
        self.frames: list[tuple[int, int, int, bytes]] = []
        self.closed = False
        self._given_up = False  # by us, perhaps before it was made
        self.credit = True  # give flow-control credit back at once
        self.acknowledge = True

    # --- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._given_up:
            self.transport.abort()
        elif self._preface:
            self.send(self._preface)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._skip:
            if len(self._buffer) < self._skip:
                return
            assert self._buffer.startswith(PREFACE)
            self._buffer, self._skip = self._buffer[self._skip :], 0
        while len(self._buffer) >= 9:
            size = int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < 9 + size:
                return
            kind, flags = self._buffer[3], self._buffer[4]
            sid = int.from_bytes(self._buffer[5:9], "big")
            payload, self._buffer = self._buffer[9 : 9 + size], self._buffer[9 + size :]
            self._take(kind, flags, sid, payload)

    def _take(self, kind: int, flags: int, sid: int, payload: bytes) -> None:
        self.frames.append((kind, flags, sid, payload))
        heard = self.streams.setdefault(sid, Heard())
        if kind == SETTINGS and not flags & 1 and self.acknowledge:
            self.send(frame(SETTINGS, 1))
        elif kind == PING and not flags & 1 and self.acknowledge:
            self.send(frame(PING, 1, 0, payload))
        elif kind == GOAWAY:
            self.goaways.append((int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big")))
        elif kind in (HEADERS, CONTINUATION):
            self._block += payload
            if flags & END_HEADERS:
                fields = self._decoder.decode(self._block)
                pairs = [(str(name), str(value)) for name, value in fields]
                heard.blocks.append(dict(pairs))
                heard.fields.extend(pairs)
                self._block = b""
            if kind == HEADERS and flags & END_STREAM:
                heard.ended = True
        elif kind == DATA:
            heard.data += payload
            heard.frames += 1
            heard.ended = heard.ended or bool(flags & END_STREAM)
            if self.credit and payload:
                self.send(frame(WINDOW_UPDATE, 0, 0, u32(len(payload))))
                if not heard.ended:
                    self.send(frame(WINDOW_UPDATE, 0, sid, u32(len(payload))))
        elif kind == RST_STREAM:
            heard.reset = int.from_bytes(payload, "big")

    # --- what a test does

    def send(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def headers(self, sid: int, fields: Sequence[Header] = GRPC, *, end: bool = False) -> None:
        block = self.block(fields)
        first, rest = block[:FRAME_BYTES], block[FRAME_BYTES:]
        flags = (END_STREAM if end else 0) | (0 if rest else END_HEADERS)
        self.send(frame(HEADERS, flags, sid, first))
        while rest:
            part, rest = rest[:FRAME_BYTES], rest[FRAME_BYTES:]
            self.send(frame(CONTINUATION, 0 if rest else END_HEADERS, sid, part))

    def block(self, fields: Sequence[Header]) -> bytes:
        return bytes(self._encoder.encode(list(fields)))

    def data(self, sid: int, payload: bytes = b"", *, end: bool = False) -> None:
        self.send(frame(DATA, END_STREAM if end else 0, sid, payload))

    def reset(self, sid: int, code: int = 8) -> None:
        self.send(frame(RST_STREAM, 0, sid, u32(code)))

    def heard(self, sid: int) -> Heard:
        return self.streams.setdefault(sid, Heard())

    async def over(self, sid: int) -> Heard:
        """The stream once it has ended or was reset, or the connection closed."""
        heard = self.heard(sid)
        await until(lambda: heard.ended or heard.reset is not None or self.closed, f"stream {sid} ends")
        return heard

    async def asked(self, count: int = 1) -> list[int]:
        """The ids of the requests that came, once there are `count` (of a server)."""
        return list(await until(lambda: len(self.requests()) >= count and self.requests(), "requests come"))

    def requests(self) -> list[int]:
        return [sid for sid, heard in self.streams.items() if sid and heard.blocks]

    async def goaway(self, code: int) -> None:
        """Waits for a GOAWAY with that code and the end of the connection."""
        await until(lambda: self.closed, "the connection is closed")
        sent = [sent for _, sent in self.goaways]
        assert sent == [code], f"GOAWAY with {sent} instead of {code}"

    async def pinged(self) -> None:
        """All that we sent before has been read by the peer."""
        count = sum(1 for kind, flags, _, _ in self.frames if kind == PING and flags & 1)
        self.send(frame(PING, 0, 0, b"areyouok"))
        await until(
            lambda: sum(1 for kind, flags, _, _ in self.frames if kind == PING and flags & 1) > count,
            "PING is answered",
        )

    def close(self) -> None:
        self._given_up = True
        if hasattr(self, "transport"):
            self.transport.abort()


async def dial(port: int, *, first: bytes | None = None, ssl: Any = None) -> Wire:
    """A client; `first` in place of its preface and SETTINGS."""
    wire = Wire(PREFACE + settings() if first is None else first)
    loop = asyncio.get_running_loop()
    name = "weft.internal" if ssl else None
    await loop.create_connection(lambda: wire, "127.0.0.1", port, ssl=ssl, server_hostname=name)
    return wire


class App:
    """A server: the application, or a peer. `answers` may answer each request by itself."""

    def __init__(self, *values: tuple[int, int], ssl: Any = None) -> None:
        self._values = values
        self._ssl = ssl
        self.wires: list[Wire] = []
        self.port = 0
        self.setup: Callable[[Wire], None] = lambda wire: None

    async def start(self) -> Self:
        server = await asyncio.get_running_loop().create_server(
            self._accept, "127.0.0.1", self.port, ssl=self._ssl
        )
        self._server = server
        self.port = server.sockets[0].getsockname()[1]
        return self

    def _accept(self) -> Wire:
        wire = Wire(settings(*self._values))
        wire._skip = len(PREFACE)
        self.setup(wire)
        self.wires.append(wire)
        return wire

    async def wire(self, number: int = 0) -> Wire:
        """The connection with that number, once it is there."""
        await until(lambda: len(self.wires) > number, "the switch connects to the application")
        return self.wires[number]

    def requests(self) -> int:
        return sum(len(wire.requests()) for wire in self.wires)

    def close_listener(self) -> None:
        self._server.close()

    def close(self) -> None:
        self._server.close()
        for wire in self.wires:
            wire.close()


class Echo(Wire):
    """Answers every request that ends with its body."""

    def _take(self, kind: int, flags: int, sid: int, payload: bytes) -> None:
        super()._take(kind, flags, sid, payload)
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self.headers(sid, HEAD_OK)
            self.data(sid, self.heard(sid).data[:16000])
            self.headers(sid, TRAILERS_OK, end=True)


class EchoApp(App):
    """A server of which every request is answered."""

    def _accept(self) -> Wire:
        wire = Echo(settings(*self._values))
        wire._skip = len(PREFACE)
        self.setup(wire)
        self.wires.append(wire)
        return wire
