"""Sans-IO. When an agent asks for its next certificate, and how long it waits after a failure."""

RENEW_FROM, RENEW_UNTIL = 0.3, 0.5
"""Shares of a certificate's life: each agent draws a moment between them, before half is over."""

ROOT_SPREAD_S = 30.0
"""When another root begins to sign, all agents ask anew within this time, not at once."""

STAY_S = 1200.0
"""An agent goes to another server after that long at most: one that was away gets its share again."""

PAUSE_S_MIN, PAUSE_S_MAX = 0.1, 2.0
RETRY_S_MAX = 60.0
REFUSED_S = 10.0  # before asking again whether this agent is a member after all


def renew_at(not_before_s: float, not_after_s: float, draw: float) -> float:
    """In Unix seconds; `draw` is in [0, 1)."""
    share = RENEW_FROM + (RENEW_UNTIL - RENEW_FROM) * draw
    return not_before_s + (not_after_s - not_before_s) * share


def retry_s(not_after_s: float, now_s: float, draw: float) -> float:
    """Until a renewal that failed is tried again: often enough that many attempts fit what is left."""
    return float(max(1.0, min(RETRY_S_MAX, (not_after_s - now_s) / 20)) * (0.5 + draw / 2))


def stay_s(draw: float) -> float:
    """How long to hold a lease at one server."""
    return STAY_S * (0.5 + draw / 2)


def refused_s(draw: float) -> float:
    """Before a server is asked again that has said that this agent is no member."""
    return REFUSED_S * (0.5 + draw / 2)


def pause_s(failures: int, draw: float) -> float:
    """Before the next server is tried: nearly nothing at first, since silence counts against the node."""
    return float(min(PAUSE_S_MAX, PAUSE_S_MIN * 2 ** min(failures, 10)) * draw)


def root_pause_s(not_after_s: float, now_s: float, draw: float) -> float:
    """Before asking for a certificate of the root that signs now."""
    return max(0.0, min(ROOT_SPREAD_S, (not_after_s - now_s) / 10)) * draw
