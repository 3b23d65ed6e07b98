"""Sans-IO. The routes of an upstream, checked into the snapshot's `Route`s."""

from weft.pb.mesh.v1 import mesh_pb2

from ..errors import InvalidResource
from ..traffic import NO_EDITS, HeaderEdits, Mirror, RetryOn, RetryPolicy, Route, Split
from .fields import check_count
from .match import header_name, http_match, is_text
from .numbers import PERCENT_MAX, PPM_MAX, number, seconds
from .targets import hash_policy

ROUTES_MAX = 1000  # of one upstream; asked in turn for each new head
SPLITS_MAX = 256
MIRRORS_MAX = 8
EDITS_MAX = 64
EDIT_BYTES_MAX = 4096
NAME_BYTES_MAX = 256
ALL = 10_000  # what the weights of splits sum to: hundredths of a percent
TIMEOUT_MS_MAX = 24 * 3600 * 1000
ATTEMPTS_MAX = 100
BACKOFF_MS_MAX = 60_000
BUDGET_MIN_MAX = 10_000
BODY_BYTES_MAX = 1024 * 1024  # kept for a retry; the process as a whole has a bound besides
STATUSES = range(100, 600)

_RETRY_ON = {on.value: on for on in RetryOn}
_DEFAULT = RetryPolicy()


def routes_of(resource: str, upstream: mesh_pb2.Upstream) -> tuple[Route, ...]:
    """Raises InvalidResource."""
    check_count(resource, "routes", len(upstream.routes), ROUTES_MAX)
    if not upstream.routes:
        raise InvalidResource(resource, "has no routes")
    return tuple(_route(f"{resource}: route {it.name[:80]!r}", it) for it in upstream.routes)


def _route(where: str, said: mesh_pb2.Route) -> Route:
    if len(said.name.encode()) > NAME_BYTES_MAX or not said.name.isprintable():
        raise InvalidResource(where, f"has a name over {NAME_BYTES_MAX} bytes, or one that cannot be shown")
    check_count(where, "mirrors", len(said.mirrors), MIRRORS_MAX)
    if said.prefix_rewrite and not said.prefix_rewrite.startswith("/"):
        raise InvalidResource(where, "prefix_rewrite does not begin with '/'")
    if not is_text(said.prefix_rewrite) or any(char in said.prefix_rewrite for char in " #?"):
        raise InvalidResource(where, "prefix_rewrite has a character that no path may have")
    return Route(
        name=said.name,
        match=http_match(where, said.match) if said.HasField("match") else None,
        splits=_splits(where, said),
        sticky=hash_policy(where, said.sticky) if said.HasField("sticky") else (),
        prefix_rewrite=said.prefix_rewrite,
        request_headers=_edits(where, said.request_headers),
        response_headers=_edits(where, said.response_headers),
        timeout_s=seconds(where, "request_timeout_ms", said.request_timeout_ms, 0.0, TIMEOUT_MS_MAX),
        idle_s=seconds(where, "idle_timeout_ms", said.idle_timeout_ms, 0.0, TIMEOUT_MS_MAX),
        retry=_retry(where, said.retry) if said.HasField("retry") else None,
        mirrors=tuple(
            Mirror(it.target, number(where, "ppm of a mirror", it.ppm, 0, PPM_MAX)) for it in said.mirrors
        ),
    )


def _splits(where: str, said: mesh_pb2.Route) -> tuple[Split, ...]:
    check_count(where, "splits", len(said.splits), SPLITS_MAX)
    total = sum(it.weight for it in said.splits)
    if total != ALL:
        raise InvalidResource(where, f"has splits whose weights sum to {total}, not to {ALL}")
    return tuple(
        Split(it.weight, it.target, _edits(where, it.request_headers), _edits(where, it.response_headers))
        for it in said.splits
    )


def _edits(where: str, said: mesh_pb2.HeaderEdits) -> HeaderEdits:
    count = len(said.set) + len(said.add) + len(said.remove)
    check_count(where, "header edits", count, EDITS_MAX)
    if not count:
        return NO_EDITS
    return HeaderEdits(
        set=tuple((header_name(where, it), _value(where, said.set[it])) for it in sorted(said.set)),
        add=tuple((header_name(where, it), _value(where, said.add[it])) for it in sorted(said.add)),
        remove=tuple(header_name(where, name) for name in said.remove),
    )


def _value(where: str, value: str) -> str:
    if not is_text(value) or value != value.strip() or len(value.encode()) > EDIT_BYTES_MAX:
        raise InvalidResource(where, f"header value {value[:40]!r} cannot be sent, or is too long")
    return value


def _retry(where: str, said: mesh_pb2.RetryPolicy) -> RetryPolicy:
    unknown = sorted(set(said.on) - _RETRY_ON.keys())
    if unknown:
        raise InvalidResource(where, f"retry.on {unknown[0][:80]!r} is unknown to this version")
    if any(code not in STATUSES for code in said.on_status_codes):
        raise InvalidResource(where, "retry.on_status_codes has one that is no HTTP status")

    def time_s(field: str, default_s: float, ms_max: int) -> float:
        return seconds(where, f"retry.{field}", getattr(said, field), default_s, ms_max)

    base_s = time_s("backoff_base_ms", _DEFAULT.backoff_base_s, BACKOFF_MS_MAX)
    unset = not said.budget_percent and not said.budget_min  # a policy without a budget gets the default one
    return RetryPolicy(
        attempts_max=number(where, "retry.attempts_max", said.attempts_max, 2, ATTEMPTS_MAX),
        on=frozenset(_RETRY_ON[word] for word in said.on),
        status_codes=frozenset(said.on_status_codes),
        per_try_s=time_s("per_try_timeout_ms", 0.0, TIMEOUT_MS_MAX),
        backoff_base_s=base_s,
        backoff_max_s=max(base_s, time_s("backoff_max_ms", 10 * base_s, BACKOFF_MS_MAX)),
        budget_percent=number(
            where, "retry.budget_percent", said.budget_percent, _DEFAULT.budget_percent if unset else 0,
            PERCENT_MAX,
        ),
        budget_min=number(
            where, "retry.budget_min", said.budget_min, _DEFAULT.budget_min if unset else 0, BUDGET_MIN_MAX
        ),
        body_bytes_max=number(
            where, "retry.body_bytes_max", said.body_bytes_max, _DEFAULT.body_bytes_max, BODY_BYTES_MAX
        ),
    )  # fmt: skip
