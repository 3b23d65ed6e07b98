"""What the audit log says of an HTTP request: every write, and every refusal."""

from dataclasses import dataclass, field

from aiohttp import web

from ..audit.event import Event, Outcome
from ..audit.trail import Trail
from ..errors import OutcomeUnknown
from ..operator.forward import FORWARDED
from .respond import Reply
from .route import Route

FORBIDDEN = 403


@dataclass(slots=True)
class Noted:
    """What becomes known of a request while it is served."""

    route: Route | None = None
    trail: Trail = field(default_factory=Trail)
    error: BaseException | None = None

    @property
    def is_write(self) -> bool:
        return self.route is not None and self.route.is_audited

    def has_line(self, reply: Reply) -> bool:
        return self.is_write or reply.status == FORBIDDEN

    def event(self, request: web.BaseRequest, status: int | None) -> Event:
        """`status` is None where nobody was left to be answered. Paths hold no secret; queries may."""
        peer = request.transport.get_extra_info("peername") if request.transport else None
        path = request.rel_url.path
        return Event(
            operation=f"{request.method} {self.route.path if self.route else path}",
            outcome=self._outcome(status),
            resource=path,
            accessor_id=self.trail.accessor_id,
            source=_address(peer) or request.remote or "",
            index=self.trail.index,
            request_id=self.trail.request_id,
            reason=str(self.error) if self.error else "",
            detail=({"status": status} if status else {})
            | ({"forwarded": True} if FORWARDED in request.headers else {}),
            command=self.trail.command,
        )

    def _outcome(self, status: int | None) -> Outcome:
        if status is None or isinstance(self.error, OutcomeUnknown):
            return Outcome.UNKNOWN
        if status < 400:
            return Outcome.DONE
        if status == FORBIDDEN:
            return Outcome.DENIED
        return Outcome.REFUSED if status < 500 else Outcome.FAILED


def _address(peer: tuple[str, int] | None) -> str:
    """As `host:port`; of IPv6 as `[host]:port`."""
    if not peer:
        return ""
    host, port = peer[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
