"""DNS in tests: a desk over a catalog in memory, and plain questions to it."""

import random
from collections.abc import Callable
from typing import Any

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import orjson

from registry.acl.caller import EVERYBODY, Caller
from registry.catalog import queries
from registry.catalog.model import PreparedQuery
from registry.catalog.state import State
from registry.dns.answer import Choices
from registry.dns.desk import Desk
from registry.dns.message import Transport
from tests.support.acl import acl_id
from tests.support.catalog import stamp
from weft.pb.catalog.v1.command_pb2 import Command

NOW_S = 1_000.0


def nobody(_state: State, _accessor: str) -> Caller | None:
    """Whose rights prepared queries have where none has a token."""
    return None


class Resolver:
    """Asks a desk. `wall` moves on by an hour with each question, so that nothing is remembered."""

    def __init__(
        self,
        view: Callable[[], State],
        choices: Choices | None = None,
        caller: Caller = EVERYBODY,
        *,
        recursion: bool = False,
        seed: int = 0,
        owner: Callable[[State, str], Caller | None] = nobody,
    ) -> None:
        self.now_s = NOW_S
        draw = random.Random(seed).random
        self.desk = Desk(
            choices or Choices(), view, lambda _: caller, owner, self._wall, draw, recursion=recursion
        )

    def _wall(self) -> float:
        self.now_s += 3600
        return self.now_s

    def ask(
        self,
        name: str,
        kind: str = "A",
        transport: Transport = Transport.TCP,
        payload: int | None = None,
    ) -> dns.message.Message:
        """The answer to one question; `payload` is what EDNS says."""
        query = dns.message.make_query(name, kind, use_edns=payload is not None, payload=payload or 0)
        wire = self.desk.take(query.to_wire(), transport)
        assert isinstance(wire, bytes)
        assert transport is Transport.TCP or len(wire) <= max(512, payload or 0)
        found = dns.message.from_wire(wire)
        assert query.is_response(found)
        return found


def texts(found: dns.message.Message, section: str = "answer") -> list[str]:
    """What the records of a section say, sorted."""
    return sorted(data.to_text() for rrset in getattr(found, section) for data in rrset)


def rcode(found: dns.message.Message) -> str:
    return dns.rcode.to_text(found.rcode())


def prepared(
    name: str, service: dict[str, Any], *, template: str | None = None, owner: str = "", ttl: str = ""
) -> Command:
    """The command that prepares it."""
    whole = {
        "Service": name,
        "Failover": {"NearestN": 0, "Datacenters": [], "Targets": []},
        "OnlyPassing": False,
        "IgnoreCheckIDs": [],
        "Near": "",
        "Tags": [],
        "NodeMeta": {},
        "ServiceMeta": {},
        "Connect": False,
    }
    document = {"Service": whole | service, "DNS": {"TTL": ttl}, "RemoveEmptyTags": False}
    is_template, definition = template is not None, orjson.dumps(document)
    row = PreparedQuery(acl_id(7), name, "", owner, is_template, template or "", definition)
    return queries.set_query(stamp(), row)
