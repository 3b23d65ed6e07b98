"""What stands before every method: a rule, limits, and the audit log."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import grpc

from weft.credential import METADATA_KEY as CREDENTIAL_KEY
from weft.credential import parse_metadata
from weft.errors import ConfigError

from ..audit.errors import AuditUnavailable
from ..audit.event import Event, Outcome
from ..audit.log import Audit
from ..audit.trail import Trail, following
from ..limits.errors import LimitError
from ..limits.guard import Limits
from ..limits.requests import Kind
from ..limits.source import host_of, source_of
from .permission import RULES, Rule
from .respond import abort

Code = grpc.StatusCode
Context = grpc.aio.ServicerContext[Any, Any]
Behaviour = Callable[[Any, Context], Any]

_DENIED = frozenset((Code.PERMISSION_DENIED, Code.UNAUTHENTICATED))
_REFUSED = frozenset(
    (
        *(Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.ALREADY_EXISTS, Code.ABORTED),
        *(Code.FAILED_PRECONDITION, Code.OUT_OF_RANGE, Code.RESOURCE_EXHAUSTED, Code.UNIMPLEMENTED),
    )
)
_NAME = "x509_subject_alternative_name"
_BY_NUMBER = {code.value[0]: code for code in Code}


class Gate(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Wraps each method once. What a method asks of its caller, its servicer checks."""

    def __init__(self, audit: Audit, limits: Limits) -> None:
        self._audit = audit
        self._limits = limits
        self._wrapped: dict[str, tuple[Any, Any]] = {}  # method -> as served, as wrapped

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        rule = RULES.get(details.method)
        if handler is None or rule is None:  # what nobody has thought about is not there
            return None
        known = self._wrapped.get(details.method)
        if known is None or known[0] is not handler:
            known = (handler, self._wrap(details.method, rule, handler))
            self._wrapped[details.method] = known
        return known[1]

    def _wrap(self, method: str, rule: Rule, handler: Any) -> Any:
        kinds = {
            (False, False): (handler.unary_unary, grpc.unary_unary_rpc_method_handler),
            (False, True): (handler.unary_stream, grpc.unary_stream_rpc_method_handler),
            (True, False): (handler.stream_unary, grpc.stream_unary_rpc_method_handler),
            (True, True): (handler.stream_stream, grpc.stream_stream_rpc_method_handler),
        }
        behaviour, make = kinds[bool(handler.request_streaming), bool(handler.response_streaming)]
        told = _Told(self._audit, self._limits, method.removeprefix("/"), rule)
        wrapped = told.generator(behaviour) if inspect.isasyncgenfunction(behaviour) else told.call(behaviour)
        return make(wrapped, handler.request_deserializer, handler.response_serializer)


class _Told:
    """One method whose calls the audit log hears of."""

    def __init__(self, audit: Audit, limits: Limits, operation: str, rule: Rule) -> None:
        self._audit = audit
        self._limits = limits
        self._operation = operation
        self._rule = rule

    def call(self, inner: Behaviour) -> Behaviour:
        async def called(request: Any, context: Context) -> Any:
            trail = Trail()
            try:
                with self._admitted(context), following(trail):
                    answer = await inner(request, context)
            except (LimitError, AuditUnavailable) as refusal:
                await abort(context, refusal)
            except BaseException:
                self._ended(trail, context)
                raise
            await self._done(trail, context)
            return answer

        return called

    def generator(self, inner: Behaviour) -> Behaviour:
        """Of a stream of answers that the servicer yields."""

        async def called(request: Any, context: Context) -> AsyncIterator[Any]:
            trail = Trail()
            try:
                with self._admitted(context), following(trail):
                    async for answer in inner(request, context):
                        yield answer
            except (LimitError, AuditUnavailable) as refusal:
                await abort(context, refusal)
            except BaseException:
                self._ended(trail, context)
                raise
            await self._done(trail, context)

        return called

    @contextmanager
    def _admitted(self, context: Context) -> Iterator[None]:
        """Raises LimitError; AuditUnavailable where nothing may be done without a line."""
        source = source_of(host_of(address_of(context.peer())))
        self._limits.request(Kind.WRITE if self._rule.writes else Kind.READ, source)
        if self._rule.writes:
            self._audit.check()
        with self._limits.call(source):
            yield

    def _ended(self, trail: Trail, context: Context) -> None:
        """By an error, or as the caller went away."""
        code = _code(context)
        outcome = _outcome(code) if code is not Code.OK else Outcome.UNKNOWN
        if self._rule.writes or outcome is Outcome.DENIED:
            self._audit.record(self._event(trail, context, outcome, code))

    async def _done(self, trail: Trail, context: Context) -> None:
        if not self._rule.writes:
            return
        self._audit.record(self._event(trail, context, Outcome.DONE, Code.OK))
        try:
            await self._audit.written()
        except AuditUnavailable as error:
            await abort(context, error)

    def _event(self, trail: Trail, context: Context, outcome: Outcome, code: grpc.StatusCode) -> Event:
        return Event(
            operation=self._operation,
            outcome=outcome,
            resource=_instance(context),
            accessor_id=trail.accessor_id,
            source=address_of(context.peer()),
            index=trail.index,
            request_id=trail.request_id,
            reason=_details(context),
            detail={"status": code.name},
            command=trail.command,
        )


def _code(context: Context) -> grpc.StatusCode:
    code: Any = context.code()  # of grpc.aio: a number, once there is one
    return code if isinstance(code, Code) else _BY_NUMBER.get(code or 0, Code.UNKNOWN)


def _details(context: Context) -> str:
    found: Any = context.details()
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else found or ""


def _outcome(code: grpc.StatusCode) -> Outcome:
    if code in _DENIED:
        return Outcome.DENIED
    return Outcome.REFUSED if code in _REFUSED else Outcome.FAILED


def _instance(context: Context) -> str:
    """The instance that the caller says it is, or the agent that its certificate names, if any."""
    if named := [name.decode() for name in context.auth_context().get(_NAME, ())]:
        return named[0]
    said = dict(context.invocation_metadata() or ()).get(CREDENTIAL_KEY, "")
    try:
        return parse_metadata(said)[0] if isinstance(said, str) else ""
    except ConfigError:  # whatever it is, it may be a secret
        return ""


def address_of(peer: str) -> str:
    """`ipv4:127.0.0.1:9` and `ipv6:%5B::1%5D:9` as `host:port`, as in the rest of the audit log."""
    return unquote(peer.partition(":")[2])
