"""Answers: JSON bytes, and the one mapping from errors to status and body."""

import gzip
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import IO

import orjson
import structlog

from ca.errors import CsrRefused, IssueRefused
from weft.errors import UsageError, WeftError
from weft.spiffe import InvalidSpiffeId

from ..acl.caller import PermissionDenied
from ..agent.errors import (
    InvalidDefinition,
    NoPortLeft,
    NotTtl,
    Undecodable,
    UnknownCheck,
    UnknownService,
)
from ..errors import (
    Conflict,
    CredentialRefused,
    DiskFull,
    ImpossibleChain,
    InvalidCommand,
    InvalidSession,
    NoServers,
    NotReady,
    OutcomeUnknown,
    SessionRefused,
)
from ..errors import NotFound as RowNotFound
from ..filter.errors import InvalidFilter
from ..identity.errors import SignTooOften, TokenUnknown, Unauthenticated
from ..limits.errors import OverRate, TooManyWatches, TooSlow
from ..operator.errors import ArchiveInvalid, EngineHasNoMembers
from ..operator.tapping import TooManyTaps
from ..raft.errors import ChangeRefused
from .errors import (
    AclDisabled,
    BadRequest,
    BodyTooLarge,
    CasInvalid,
    EntryUnreadable,
    Forbidden,
    MissingParameter,
    NameTaken,
    NoSuchDatacenter,
    NoSuchPeer,
    NotFound,
    TooMuch,
    WrongMethod,
)

log = structlog.get_logger(__name__)

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"
GZIP_BYTES_MIN = 1400  # as Consul: below one packet compression gains nothing
GZIP_LEVEL = 1  # the event loop does it: speed counts more than the last tenth of size


class Encoded:
    """A body that is sent to many: compressed once, when the first of them takes it so."""

    __slots__ = ("_gzipped", "plain")

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        self._gzipped: bytes | None = None

    @property
    def gzipped(self) -> bytes:
        if self._gzipped is None:
            self._gzipped = gzip.compress(self.plain, GZIP_LEVEL, mtime=0)
        return self._gzipped


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, body and headers of an answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = TEXT_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)
    file: IO[bytes] | None = None  # sent after `body`, in blocks, and then closed
    encoded: Encoded | None = None  # the same body, where others are sent it too
    stream: AsyncIterator[bytes] | None = None  # instead of a body: sent as it comes


def json_bytes(value: object, *, pretty: bool) -> bytes:
    """Compact JSON without a final newline, or indented by four spaces with one."""
    body = orjson.dumps(value)
    if pretty:
        body = json.dumps(json.loads(body), indent=4, ensure_ascii=False).encode() + b"\n"
    return body


def json_reply(value: object, *, pretty: bool, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(200, json_bytes(value, pretty=pretty), JSON_TYPE, headers or {})


# The first class that fits decides. {} is the error's message.
_ANSWERS: tuple[tuple[type[WeftError], int, str], ...] = (
    (Undecodable, 400, "Request decode failed: {}"),
    (InvalidDefinition, 400, "{}"),
    (NoPortLeft, 400, "Invalid SidecarService: {}"),
    (UnknownService, 404, "{}"),
    (UnknownCheck, 404, "{}"),
    (NotTtl, 500, "{}"),
    (BadRequest, 400, "{}"),
    (AclDisabled, 401, "{}"),
    (Forbidden, 403, "{}"),
    (NotFound, 404, "{}"),
    (WrongMethod, 405, "{}"),
    (BodyTooLarge, 413, "{}"),
    (TooMuch, 413, "{}"),
    (EntryUnreadable, 400, "Request decoding failed: {}"),
    (CasInvalid, 500, "{}"),
    (ImpossibleChain, 500, "{}"),
    (MissingParameter, 500, "{}"),
    (NameTaken, 500, "{}"),
    (NoSuchDatacenter, 500, "{}"),
    (InvalidFilter, 500, "Failed to create boolean expression evaluator: {}"),
    (InvalidCommand, 400, "{}"),
    (RowNotFound, 404, "{}"),
    (InvalidSession, 500, "{}"),
    (SessionRefused, 500, "{}"),
    (Conflict, 409, "{}"),
    (CredentialRefused, 403, "Permission denied: {}"),
    (Unauthenticated, 403, "Permission denied: {}"),
    (PermissionDenied, 403, "{}"),
    (TokenUnknown, 403, "{}"),
    (ArchiveInvalid, 400, "Invalid snapshot: {}"),
    (ChangeRefused, 500, "{}"),
    (EngineHasNoMembers, 500, "{}"),
    (NoSuchPeer, 500, "{}"),
    (SignTooOften, 429, "{}"),
    (OverRate, 429, ""),  # as Consul: no body
    (TooManyWatches, 429, "{}"),
    (TooSlow, 408, "{}"),
    (TooManyTaps, 429, "{}"),
    (InvalidSpiffeId, 400, "{}"),
    (CsrRefused, 400, "{}"),
    (IssueRefused, 500, "{}"),
    (NotReady, 500, "No cluster leader"),
    (NoServers, 500, "{}"),
    (OutcomeUnknown, 500, "{}"),
    (DiskFull, 500, "{}"),
    (UsageError, 400, "{}"),
    (WeftError, 500, "{}"),
)


def refuse(error: Exception) -> Reply:
    """The answer to a request that ended with an error. What is no WeftError is a bug, and logged."""
    for kind, status, text in _ANSWERS:
        if isinstance(error, kind):
            return Reply(status, text.format(error).encode(), headers=_headers(error))
    log.error("request failed", exc_info=error)
    return Reply(500, b"Internal error: see the registry's log")


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, WrongMethod):
        return {"Allow": ",".join(("OPTIONS", *error.allowed))}
    return {"Retry-After": "1"} if isinstance(error, OverRate | TooManyWatches) else {}


def compressed(reply: Reply, accept_encoding: str) -> Reply:
    """The reply as gzip where the client takes it and it pays."""
    if reply.file or len(reply.body) < GZIP_BYTES_MIN or "gzip" not in accept_encoding.lower():
        return reply
    headers = {**reply.headers, "Content-Encoding": "gzip"}
    body = (reply.encoded or Encoded(reply.body)).gzipped
    return Reply(reply.status, body, reply.content_type, headers)
