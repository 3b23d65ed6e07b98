"""The one mapping from errors to gRPC statuses."""

from typing import Any, NoReturn

import grpc
import structlog

from weft.errors import Unavailable, UsageError, WeftError

from ..acl.caller import PermissionDenied
from ..agent.errors import NoPortLeft, UnknownCheck, UnknownService
from ..audit.errors import AuditUnavailable
from ..errors import Conflict, CredentialRefused, DiskFull, NotFound
from ..identity.errors import SignTooOften, TokenUnknown, Unauthenticated
from ..limits.errors import LimitError
from ..operator.tapping import TooManyTaps
from .errors import Superseded
from .session import TooManyStreams

log = structlog.get_logger(__name__)
Code = grpc.StatusCode

# The first class that fits decides.
_STATUSES: tuple[tuple[type[WeftError], grpc.StatusCode], ...] = (
    (Unauthenticated, Code.UNAUTHENTICATED),
    (CredentialRefused, Code.UNAUTHENTICATED),
    (PermissionDenied, Code.PERMISSION_DENIED),
    (TokenUnknown, Code.PERMISSION_DENIED),
    (SignTooOften, Code.RESOURCE_EXHAUSTED),
    (TooManyStreams, Code.RESOURCE_EXHAUSTED),
    (LimitError, Code.RESOURCE_EXHAUSTED),
    (TooManyTaps, Code.RESOURCE_EXHAUSTED),
    (NoPortLeft, Code.RESOURCE_EXHAUSTED),
    (DiskFull, Code.RESOURCE_EXHAUSTED),
    (AuditUnavailable, Code.UNAVAILABLE),
    (UnknownService, Code.NOT_FOUND),
    (UnknownCheck, Code.NOT_FOUND),
    (NotFound, Code.NOT_FOUND),
    (Conflict, Code.ABORTED),
    (Superseded, Code.ABORTED),
    (Unavailable, Code.UNAVAILABLE),
    (UsageError, Code.INVALID_ARGUMENT),
    (WeftError, Code.INTERNAL),
)


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """Status and details; what is no WeftError is a bug, and logged."""
    for kind, code in _STATUSES:
        if isinstance(error, kind):
            return code, str(error)
    log.error("call failed", exc_info=error)
    return Code.INTERNAL, "internal error: see the registry's log"


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> NoReturn:
    """Ends the call with the status of the error."""
    code, details = status_of(error)
    await context.abort(code, details)
    raise AssertionError("abort returned")
