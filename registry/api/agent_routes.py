"""The routes of `/v1/agent/*` that tell of the process, and change how it takes part."""

from . import (
    agent,
    agent_follow,
    agent_health,
    agent_membership,
    agent_node,
    agent_service,
    agent_token,
    authorize,
)
from .permission import (
    AGENT_READ,
    AGENT_WRITE,
    INSIDE,
    NODE_WRITE,
    OPERATOR_READ,
    OPERATOR_WRITE,
    SERVICE_READ,
)
from .route import Route, ask, write

ROUTES: tuple[Route, ...] = (
    write("POST", "/v1/agent/connect/authorize", authorize.authorize, INSIDE),
    write("PUT", "/v1/agent/force-leave/:node", agent_membership.force_leave, OPERATOR_WRITE),
    ask("/v1/agent/health/service/id/:id", agent_health.by_id, INSIDE),
    ask("/v1/agent/health/service/name/:name", agent_health.by_name, SERVICE_READ),
    ask("/v1/agent/host", agent_node.host, OPERATOR_READ),
    write("PUT", "/v1/agent/join/:address", agent_membership.join, AGENT_WRITE),
    write("PUT", "/v1/agent/leave", agent_membership.leave, AGENT_WRITE),
    write("PUT", "/v1/agent/maintenance", agent.maintain_node, NODE_WRITE),
    ask("/v1/agent/metrics", agent_node.metrics, AGENT_READ),
    ask("/v1/agent/metrics/stream", agent_follow.metrics_stream, AGENT_READ),
    ask("/v1/agent/monitor", agent_follow.monitor, AGENT_READ),
    write("PUT", "/v1/agent/reload", agent_node.reload, AGENT_WRITE),
    ask("/v1/agent/service/:id", agent_service.service, INSIDE),
    write("PUT", "/v1/agent/service/maintenance/:id", agent.maintain_service, INSIDE),
    write("PUT", "/v1/agent/token/:type", agent_token.put, AGENT_WRITE),
    ask("/v1/agent/version", agent_node.version, AGENT_READ),
)
