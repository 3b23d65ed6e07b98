"""State machines to replicate: a small one that is quick, and the registry's real catalog.

Both answer a retry of a write with what the first one answered, and do it once.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Protocol

from registry.catalog import commands, snapshot
from registry.catalog.apply import apply
from registry.catalog.model import Node, Service
from registry.catalog.state import State
from weft.pb.catalog.v1.command_pb2 import Command

from . import model
from .linearizability import DONE


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks. (client, number) is what makes a write that write, also when it is retried."""

    client: str
    number: int
    key: str
    kind: str
    argument: Any


class Machine(Protocol):
    writes: tuple[str, ...]
    """Kinds of the model's writes that it can do."""

    def encode(self, request: Request, now_ms: int) -> bytes: ...

    def apply(self, index: int, data: bytes) -> Any:
        """Does a command; the answer is the same on every server."""

    def read(self, key: str) -> model.Value: ...

    def snapshot(self) -> bytes:
        """All of the state: equal states give equal bytes."""

    def restore(self, data: bytes) -> None: ...


class KvMachine:
    """Keys with values as in model.py, and the last answer to each client."""

    writes: tuple[str, ...] = (model.PUT, model.APPEND, model.SWAP)

    def __init__(self) -> None:
        self.values: dict[str, model.Value] = {}
        self.sessions: dict[str, tuple[int, Any]] = {}

    def encode(self, request: Request, now_ms: int) -> bytes:
        return json.dumps(
            (request.client, request.number, request.key, request.kind, request.argument)
        ).encode()

    def apply(self, index: int, data: bytes) -> Any:
        client, number, key, kind, argument = json.loads(data)
        if not self._is_done(client, number):
            self.sessions[client] = (number, self._write(key, kind, argument))
        # A copy of an older request finds nobody who waits for its answer.
        return self.sessions[client][1]

    def _is_done(self, client: str, number: int) -> bool:
        return client in self.sessions and number <= self.sessions[client][0]

    def _write(self, key: str, kind: str, argument: Any) -> Any:
        if kind == model.SWAP:
            argument = (tuple(argument[0]), argument[1])
        self.values[key], answer = model.step(self.read(key), kind, argument)
        return answer

    def read(self, key: str) -> model.Value:
        return self.values.get(key, model.EMPTY)

    def snapshot(self) -> bytes:
        return json.dumps((sorted(self.values.items()), sorted(self.sessions.items()))).encode()

    def restore(self, data: bytes) -> None:
        values, sessions = json.loads(data)
        self.values = {key: tuple(value) for key, value in values}
        self.sessions = {client: (number, _frozen(answer)) for client, (number, answer) in sessions}


def _frozen(answer: Any) -> Any:
    return tuple(answer) if isinstance(answer, list) else answer


class CatalogMachine:
    """The registry's own `apply`: a key is a service, its value the tags."""

    writes: tuple[str, ...] = (model.PUT,)

    def __init__(self) -> None:
        self.state = State()

    def encode(self, request: Request, now_ms: int) -> bytes:
        name = f"{request.client} {request.number}".encode()
        stamp = commands.Stamp(now_ms, hashlib.sha256(name).digest()[: commands.REQUEST_ID_BYTES])
        node = Node(name="n1", address="10.0.0.1", datacenter="dc1")
        tags = (str(request.argument),)
        row = Service(node="n1", id=request.key, name=request.key, datacenter="dc1", port=80, tags=tags)
        return commands.register(stamp, node, (row,)).SerializeToString(deterministic=True)

    def apply(self, index: int, data: bytes) -> Any:
        applied = apply(self.state, Command.FromString(data), index)
        self.state = applied.state
        return applied.answer.message or DONE

    def read(self, key: str) -> model.Value:
        found = self.state.services.get(("n1", key))
        return tuple(int(tag) for tag in found.tags) if found else model.EMPTY

    def snapshot(self) -> bytes:
        records = [record.hex() for record in snapshot.encode(self.state)]
        return json.dumps(records).encode()

    def restore(self, data: bytes) -> None:
        self.state = snapshot.decode(bytes.fromhex(record) for record in json.loads(data))
