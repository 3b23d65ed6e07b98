"""What a handler gets and gives. Routes say which of the two kinds it is."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from weft.clock import Clock
from weft.credential import Credential
from weft.errors import InvariantBroken

from ..acl.caller import Caller, Sieve
from ..agent.definitions import DefinitionFiles
from ..agent.local import Agent
from ..agent.runner import Runner
from ..agent.writer import Entropy, Writer
from ..audit.log import Audit, Unaudited
from ..catalog.state import Read, State
from ..catalog.watches import WatchKey
from ..dns.desk import Desk
from ..filter.expression import Row
from ..identity.admission import Admission, AskedCallers, Callers
from ..identity.agent_tokens import AgentTokens
from ..identity.enroller import Enroller
from ..identity.key_sets import KeySets
from ..identity.service_leaves import ServiceLeaves
from ..limits.guard import Limits
from ..limits.settings import LimitSettings
from ..operator.canaries import Canaries
from ..operator.forward import ToLeader
from ..operator.guide import Guide
from ..operator.measuring import Measuring
from ..operator.proxies import Proxies
from ..operator.renewals import Renewals
from ..operator.servers import Members
from ..operator.tapping import Tapping
from ..replica.port import Log
from .errors import BadRequest
from .query import Query
from .respond import Reply, json_reply

T = TypeVar("T")


class Minter(Protocol):
    """Makes credentials of instances (`identity.credentials`)."""

    async def mint(self, instance_key: str) -> Credential: ...


def on_server(room: T | None) -> T:
    """A room that only servers have: agents do not serve the routes that need it."""
    if room is None:
        raise InvariantBroken("an agent serves a route that only servers can")
    return room


@dataclass(frozen=True, slots=True)
class Joining:
    """What a server has for agents that want to join."""

    enroller: Enroller
    guide: Guide


@dataclass(frozen=True, slots=True)
class Parts:
    """The registry's rooms, as far as the API uses them."""

    log: Log
    writer: Writer
    agent: Agent
    runner: Runner
    credentials: Minter
    leaves: ServiceLeaves | None  # None where this is no server
    renewals: Renewals | None  # as leaves
    clock: Clock
    draw: Callable[[], float]  # in [0, 1)
    entropy: Entropy
    measuring: Measuring | None  # as leaves
    tapping: Tapping | None  # as leaves
    canaries: Canaries | None  # as leaves
    proxies: Proxies | None  # as leaves
    default_allow: bool  # what is decided where no intention matches
    server_address: str  # host:port that status/leader names; "" names who leads the log
    members: Members | None = None  # None where the consensus engine keeps its own
    admission: Admission | None = None  # None: everybody on this machine may do everything
    to_leader: ToLeader | None = None  # None where this is the only server
    remote: AskedCallers | None = None  # None where this server knows the tokens itself
    is_server: bool = True
    joining: Joining | None = None  # None where this is no server
    key_list_policy: bool = False  # reading many keys at once takes the right to list them
    leaving: asyncio.Event = field(default_factory=asyncio.Event)  # set: the process is to end
    tokens: AgentTokens = field(default_factory=AgentTokens)  # of this agent itself
    key_sets: KeySets = field(default_factory=lambda: KeySets(time.monotonic))  # of auth methods
    audit: Audit = field(default_factory=Unaudited)
    definitions: DefinitionFiles | None = None  # of this machine
    names: Desk | None = None  # DNS on behalf of agents; as leaves
    limits: Limits = field(default_factory=lambda: Limits(LimitSettings(), time.monotonic))

    @property
    def callers(self) -> Callers | None:
        """None: everybody on this machine may do everything."""
        return self.remote or self.admission

    @property
    def datacenter(self) -> str:
        return self.agent.node.datacenter


def keeps_all(_row: Row) -> bool:
    """What `?filter=` says where there is none."""
    return True


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a State. Handlers of reads are pure: they may be repeated when something moves."""

    state: State
    query: Query
    name: str  # the last segment of the path, where the route has one
    parts: Parts
    caller: Caller
    sieve: Sieve  # of lists: keeps what the caller may read
    keeps: Callable[[Row], bool] = keeps_all  # `?filter=`, asked about rows as they are answered
    body: bytes = b""  # of a read by POST

    def needed(self, message: str) -> str:
        """The name. Raises BadRequest with Consul's text for an empty one."""
        if not self.name:
            raise BadRequest(message)
        return self.name


@dataclass(frozen=True, slots=True)
class Answer:
    """What a read found. `body` becomes JSON, or is sent as it is when `content_type` is set."""

    body: Any
    index: int
    keys: tuple[WatchKey, ...]
    content_type: str = ""
    exact: bool = False  # the index has no order: any other one has moved
    missing: str | None = None  # 404 with this text, and the index all the same
    headers: Mapping[str, str] = field(default_factory=dict)


def answer(found: Read[Any], body: Any) -> Answer:
    """`body` was made of the rows of `found`."""
    return Answer(body, found.index, found.keys)


@dataclass(frozen=True, slots=True)
class Call:
    """One request that acts, or asks the agent."""

    query: Query
    name: str
    headers: Mapping[str, str]
    body: bytes
    parts: Parts
    caller: Caller
    sieve: Sieve  # of lists: keeps what the caller may read
    upload: AsyncIterator[bytes] | None = None  # the body of a route that takes it in blocks
    keeps: Callable[[Row], bool] = keeps_all  # as in Reading
    source: str = ""  # whom limits count it to

    def needed(self, message: str) -> str:
        """The name. Raises BadRequest with Consul's text for an empty one."""
        if not self.name:
            raise BadRequest(message)
        return self.name

    def json(self, value: object, headers: Mapping[str, str] | None = None) -> Reply:
        return json_reply(value, pretty=self.query.flag("pretty"), headers=headers)


ReadHandler: TypeAlias = Callable[[Reading], Answer]
CallHandler: TypeAlias = Callable[[Call], Awaitable[Reply]]
