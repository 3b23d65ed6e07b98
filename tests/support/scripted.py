"""Peers that answer each request as a test says, and a caller that keeps requests coming."""

from collections.abc import Callable, Sequence
from typing import Any

from tests.support.switch import Mesh
from tests.support.wire import (
    DATA,
    END_STREAM,
    GRPC,
    HEAD_OK,
    HEADERS,
    PREFACE,
    TRAILERS_OK,
    App,
    Header,
    Heard,
    Wire,
    settings,
)

Answer = Callable[[Wire, int], None]


def serves(name: str = "") -> Answer:
    """A gRPC answer, whose message is the name."""

    def answer(wire: Wire, sid: int) -> None:
        wire.headers(sid, (*HEAD_OK, ("served-by", name)))
        wire.data(sid, name.encode())
        wire.headers(sid, TRAILERS_OK, end=True)

    return answer


def refuses(grpc_status: int) -> Answer:
    """Trailers only."""

    def answer(wire: Wire, sid: int) -> None:
        wire.headers(sid, (*HEAD_OK, ("grpc-status", str(grpc_status))), end=True)

    return answer


def answers(status: int, body: bytes = b"") -> Answer:
    """Plain HTTP."""

    def answer(wire: Wire, sid: int) -> None:
        wire.headers(sid, ((":status", str(status)),), end=not body)
        if body:
            wire.data(sid, body, end=True)

    return answer


def resets(code: int) -> Answer:
    return lambda wire, sid: wire.reset(sid, code)


def silent(wire: Wire, sid: int) -> None:
    """Nothing is answered."""


def in_turn(*all_of_them: Answer) -> Answer:
    """Each for one request, the last for all others."""
    left = list(all_of_them)
    return lambda wire, sid: (left.pop(0) if len(left) > 1 else left[0])(wire, sid)


class Peer(App):
    """Another sidecar, or (`plain`) an application. It answers each whole request and remembers it."""

    def __init__(self, mesh: Mesh, answer: Answer, service: str = "orders", *, plain: bool = False) -> None:
        super().__init__(ssl=None if plain else mesh.tls(service).server)
        self.answer = answer
        self.seen: list[Heard] = []

    def _accept(self) -> Wire:
        wire = _PeerWire(self)
        wire._skip = len(PREFACE)
        self.wires.append(wire)
        return wire

    @property
    def heads(self) -> list[dict[str, str]]:
        """The heads of all requests that were whole."""
        return [heard.blocks[0] for heard in self.seen]


class _PeerWire(Wire):
    def __init__(self, peer: Peer) -> None:
        super().__init__(settings())
        self._peer = peer

    def _take(self, kind: int, flags: int, sid: int, payload: bytes) -> None:
        super()._take(kind, flags, sid, payload)
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self._peer.seen.append(self.heard(sid))
            self._peer.answer(self, sid)


class Calls:
    """Unary calls on one connection, one after the other or many at once."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._sid = -1

    def begin(self, fields: Sequence[Header] = GRPC, body: bytes = b"body") -> int:
        self._sid += 2
        self.wire.headers(self._sid, fields, end=not body)
        if body:
            self.wire.data(self._sid, body, end=True)
        return self._sid

    async def make(self, fields: Sequence[Header] = GRPC, body: bytes = b"body") -> Heard:
        return await self.wire.over(self.begin(fields, body))

    async def status(self, fields: Sequence[Header] = GRPC, body: bytes = b"body") -> str:
        """Its gRPC status, or else its HTTP one."""
        return status_of(await self.make(fields, body))

    async def many(self, count: int, fields: Sequence[Header] = GRPC, body: bytes = b"body") -> list[Heard]:
        return [await self.wire.over(sid) for sid in [self.begin(fields, body) for _ in range(count)]]


def status_of(heard: Heard) -> str:
    assert heard.blocks, f"reset with {heard.reset}"
    last = heard.blocks[-1]
    return last.get("grpc-status") or last.get(":status") or heard.blocks[0][":status"]


def get(path: str = "/", **fields: Any) -> tuple[Header, ...]:
    """A plain request; `x_user` names the header `x-user`."""
    more = tuple((name.replace("_", "-"), str(value)) for name, value in fields.items())
    return (
        (":method", "GET"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "orders"),
        *more,
    )


def grpc(path: str = "/s/m", **fields: Any) -> tuple[Header, ...]:
    more = tuple((name.replace("_", "-"), str(value)) for name, value in fields.items())
    head = tuple((name, path if name == ":path" else value) for name, value in GRPC)
    return (*head, *more)
