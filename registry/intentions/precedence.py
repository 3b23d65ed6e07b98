"""Which intention wins: the more exact destination, then the more exact source (Consul's numbers)."""

from collections.abc import Iterable

from ..catalog.model import WILDCARD, Intention

EXACT_EXACT, ANY_EXACT, EXACT_ANY, ANY_ANY = 9, 8, 6, 5


def precedence(intention: Intention) -> int:
    """9 exact to exact, 8 any to exact, 6 exact to any, 5 any to any."""
    if intention.destination != WILDCARD:
        return EXACT_EXACT if intention.source != WILDCARD else ANY_EXACT
    return EXACT_ANY if intention.source != WILDCARD else ANY_ANY


def ordered(intentions: Iterable[Intention]) -> tuple[Intention, ...]:
    """Highest precedence first; among equals by destination, then source."""
    return tuple(sorted(intentions, key=lambda it: (-precedence(it), it.destination, it.source)))
