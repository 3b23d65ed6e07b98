"""The `h2` library on both sides: it raises on whatever RFC 9113 forbids, and every byte must arrive."""

import asyncio
import random
from typing import Any, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest

from sidecar.proxy.outbound import Outbound
from sidecar.snapshot import Address
from sidecar.telemetry import Telemetry
from tests.support.switch import Mesh
from tests.support.waiting import until
from tests.support.wire import GRPC

STREAMS = 30


class Peer(asyncio.Protocol):
    """One end. It sends bodies in pieces of any size, some padded, and gives credit when it likes."""

    def __init__(self, client: bool, rng: random.Random) -> None:
        config = h2.config.H2Configuration(client_side=client, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.client = client
        self.rng = rng
        self.to_send: dict[int, bytes] = {}
        self.got: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.trailers: dict[int, dict[str, str]] = {}
        self.uncredited: list[tuple[int, int]] = []
        self.fault: Exception | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.h2.initiate_connection()
        window = self.rng.choice((0, 1, 1000, 65_535, 1_000_000))
        size = self.rng.choice((16_384, 100_000))
        self.h2.update_settings(
            {
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window,
                h2.settings.SettingCodes.MAX_FRAME_SIZE: size,
                h2.settings.SettingCodes.HEADER_TABLE_SIZE: self.rng.choice((0, 100, 4096)),
            }
        )
        self.flush()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self.h2.receive_data(data):
                self._take(event)
        except Exception as fault:  # the verdict of the oracle
            self.fault = fault
            self.abort()
            return
        self.turn()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.h2.send_headers(event.stream_id, [(":status", "200"), ("x-many", "a"), ("x-many", "b")])
        elif isinstance(event, h2.events.DataReceived):
            self.got[event.stream_id] = self.got.get(event.stream_id, b"") + event.data
            self.uncredited.append((event.stream_id, event.flow_controlled_length))
        elif isinstance(event, h2.events.TrailersReceived):
            fields: Any = event.headers
            self.trailers[event.stream_id] = dict(fields)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id)
            if not self.client:
                self.to_send[event.stream_id] = self.got.get(event.stream_id, b"")[::-1]

    def turn(self) -> None:
        """Sends a little of something, credits a little of something."""
        for _ in range(self.rng.randrange(1, 4)):
            if self.uncredited:
                sid, size = self.uncredited.pop(self.rng.randrange(len(self.uncredited)))
                if size:
                    self.h2.increment_flow_control_window(size)
                    if sid not in self.ended:
                        self.h2.increment_flow_control_window(size, sid)
        if not self.rng.randrange(4):
            for sid in self._open():
                self.h2.increment_flow_control_window(self.rng.randrange(1, 5000), sid)
        self._send_some()
        self.flush()

    def _open(self) -> list[int]:
        return [sid for sid in range(1, 2 * STREAMS, 2) if sid not in self.ended and sid in self.h2.streams]

    def _send_some(self) -> None:
        for sid in self.rng.sample(sorted(self.to_send), len(self.to_send)):
            body = self.to_send[sid]
            room = min(self.h2.local_flow_control_window(sid), self.h2.max_outbound_frame_size)
            padding = self.rng.choice((None, None, 0, 7, 255))
            size = min(
                len(body), self.rng.randrange(1, 20_000), room - (0 if padding is None else padding + 1)
            )
            if size > 0:
                self.h2.send_data(sid, body[:size], pad_length=padding)
                self.to_send[sid] = body = body[size:]
            if not body:
                del self.to_send[sid]
                self.h2.send_headers(sid, [("x-end", str(sid))], end_stream=True)

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def flush(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(self.h2.data_to_send())


@pytest.mark.parametrize("seed", range(8))
async def test_every_byte_arrives_and_the_oracle_is_content(seed: int) -> None:
    """Tiny and huge windows, padding, odd sizes, tables of any size: thirty calls at once."""
    rng = random.Random(seed)
    loop = asyncio.get_running_loop()
    mesh = Mesh()
    servers: list[Peer] = []

    def serve() -> Peer:
        servers.append(Peer(False, rng))
        return servers[-1]

    app = await loop.create_server(serve, "127.0.0.1", 0)
    address = Address("127.0.0.1", app.sockets[0].getsockname()[1])
    engine = await mesh.engine(mesh.snapshot("orders", app=address))
    side = Outbound(engine.outbox, engine.app, Telemetry(), "test")
    listener = await loop.create_server(side.accept, "127.0.0.1", 0)
    client = Peer(True, rng)
    await loop.create_connection(lambda: client, "127.0.0.1", listener.sockets[0].getsockname()[1])
    bodies = {sid: rng.randbytes(rng.choice((0, 1, 5000, 90_000))) for sid in range(1, 2 * STREAMS, 2)}
    for sid, body in bodies.items():
        client.h2.send_headers(sid, [*GRPC, ("x-number", str(sid))])
        client.to_send[sid] = body
    client.turn()

    def moved() -> bool:
        for peer in (client, *servers):
            assert peer.fault is None, peer.fault
            if peer.transport is not None and not peer.transport.is_closing():
                for _ in range(40):
                    peer.turn()
        return len(client.ended) == STREAMS

    await until(moved, "all calls end", deadline_s=30)
    assert {sid: client.got.get(sid, b"") for sid in bodies} == {sid: b[::-1] for sid, b in bodies.items()}
    assert client.trailers == {sid: {"x-end": str(sid)} for sid in bodies}
    assert engine.outbox.held == 0
    for server in (app, listener):
        server.close()
    for peer in (client, *servers):
        peer.abort()
    await mesh.close()
