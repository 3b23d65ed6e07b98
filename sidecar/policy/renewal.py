"""Sans-IO. When to renew a certificate, and how long to wait after a failure."""

RENEW_FROM, RENEW_BEFORE = 1 / 3, 1 / 2  # share of the certificate's remaining life at its receipt

ROTATION_SPREAD_S = 60.0  # after a change of the root all sidecars renew within this, not all at once
ROTATION_SPREAD_SHARE = 1 / 4  # of what is left of a short-lived certificate, if that is less

BACKOFF_BASE_S = 0.2  # a restarted registry is back within a second or two
BACKOFF_MAX_S = 10.0  # and after a longer outage all sidecars are back within this


def renewal_at(received_at: float, not_after: float, draw: float) -> float:
    """When to ask for the next certificate: after a third and before half of what was left of this one
    when it came. `draw` in [0, 1) spreads instances that started together.

    Counted from the receipt, not from notBefore, which is backdated against clock skew: with a life of a
    minute, half of the written life may be over on arrival.
    """
    life = max(0.0, not_after - received_at)
    return received_at + life * (RENEW_FROM + (RENEW_BEFORE - RENEW_FROM) * draw)


def renewal_after_rotation(now: float, not_after: float, draw: float) -> float:
    """When to ask for the next certificate once another root signs than the one that signed ours.

    Ours stays good until it expires: the old root is trusted that long. But the sooner all are renewed, the
    less depends on the old one. `draw` in [0, 1) spreads them.
    """
    left = max(0.0, not_after - now)
    return now + draw * min(ROTATION_SPREAD_S, left * ROTATION_SPREAD_SHARE)


def backoff_s(failures: int, draw: float) -> float:
    """How long to wait after `failures` in a row (1, 2, ...): doubling, and between half and all of it."""
    whole = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2.0 ** min(failures - 1, 16))
    return whole * (0.5 + 0.5 * draw)
