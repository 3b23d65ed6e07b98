"""What an agent answers itself: this node's services, its checks, the process. All else is the servers'."""

from ..api.route import Route
from ..api.routes import ROUTES

_LOCAL = (
    "/v1/agent/check/",
    "/v1/agent/checks",
    "/v1/agent/health/service/",
    "/v1/agent/host",
    "/v1/agent/leave",
    "/v1/agent/maintenance",
    "/v1/agent/metrics",
    "/v1/agent/monitor",
    "/v1/agent/reload",
    "/v1/agent/self",
    "/v1/agent/service/",
    "/v1/agent/services",
    "/v1/agent/token/",
    "/v1/agent/version",
)
LOCAL_ROUTES: tuple[Route, ...] = tuple(it for it in ROUTES if it.path.startswith(_LOCAL))
