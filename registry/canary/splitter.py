"""The splitter of a canary: whether there can be one, and what it looks like at a weight."""

from dataclasses import replace

from ..config_entries.canary import ServiceCanary
from ..config_entries.errors import InvalidEntry
from ..config_entries.routing import ServiceResolver, ServiceSplit, ServiceSplitter

ALL = 10_000  # weights are hundredths of a percent


def check_start(
    canary: ServiceCanary, splitter: ServiceSplitter | None, resolver: ServiceResolver | None
) -> None:
    """Raises InvalidEntry where the canary cannot begin, with what to do first."""
    subset, name = canary.subset, canary.name
    if resolver is None or subset not in resolver.subsets:
        raise InvalidEntry(
            "ServiceSubset", f"the service-resolver of {name!r} has no subset {subset!r}: write it first"
        )
    if splitter is None:
        stable = canary.stable or resolver.default_subset
        if not stable:
            raise InvalidEntry(
                "StableSubset",
                f"is missing: {name!r} has neither a splitter nor a DefaultSubset, so nothing says which "
                "version its calls go to now",
            )
        _check_stable(stable, canary, resolver)
        return
    _check_splitter(canary, splitter)


def _check_stable(stable: str, canary: ServiceCanary, resolver: ServiceResolver) -> None:
    if stable not in resolver.subsets:
        raise InvalidEntry(
            "StableSubset",
            f"the service-resolver of {canary.name!r} has no subset {stable!r}: write it first",
        )
    if stable == canary.subset:
        raise InvalidEntry("ServiceSubset", f"{stable!r} is the DefaultSubset: all calls go there already")


def _check_splitter(canary: ServiceCanary, splitter: ServiceSplitter) -> None:
    used = [split for split in splitter.splits if split.hundredths and not _is_new(split, canary)]
    if len(used) != 1:
        sides = ", ".join(_side(split, canary.name) for split in used) or "nobody else"
        raise InvalidEntry(
            "Name",
            f"the service-splitter of {canary.name!r} divides calls among {sides}: a canary needs exactly "
            "one side that has them, besides the new version",
        )
    (stable,) = used
    if canary.stable and canary.stable != stable.subset:
        raise InvalidEntry(
            "StableSubset", f"the splitter's calls go to {_side(stable, canary.name)}, not {canary.stable!r}"
        )
    has = ALL - stable.hundredths
    if has >= round(canary.steps[0] * 100):
        raise InvalidEntry(
            "Steps", f"{canary.subset!r} has {has / 100:g} % already: begin with a higher step"
        )


def _is_new(split: ServiceSplit, canary: ServiceCanary) -> bool:
    return split.service in ("", canary.name) and split.subset == canary.subset


def _side(split: ServiceSplit, service: str) -> str:
    return split.subset or split.service or service


def at_weight(
    canary: ServiceCanary,
    splitter: ServiceSplitter | None,
    resolver: ServiceResolver | None,
    percent: float,
) -> ServiceSplitter:
    """The splitter with `percent` for the new version. All else of it stays as it was written.

    The new version's side is the last one where it was not there, so that a sticky split moves callers to it
    and none back.
    """
    new = round(percent * 100)
    before = splitter or _first(canary, resolver)
    splits = [_weighted(split, canary, new) for split in before.splits]
    if not any(_is_new(split, canary) for split in splits):
        splits.append(ServiceSplit(weight=new / 100, subset=canary.subset))
    return replace(before, splits=tuple(splits), sticky=before.sticky or canary.sticky)


def _first(canary: ServiceCanary, resolver: ServiceResolver | None) -> ServiceSplitter:
    """Where there was none."""
    stable = canary.stable or (resolver.default_subset if resolver else "")
    return ServiceSplitter(
        kind=ServiceSplitter.KIND, name=canary.name, splits=(ServiceSplit(weight=100.0, subset=stable),)
    )


def _weighted(split: ServiceSplit, canary: ServiceCanary, new: int) -> ServiceSplit:
    if _is_new(split, canary):
        return replace(split, weight=new / 100)
    return replace(split, weight=(ALL - new) / 100) if split.hundredths else split
