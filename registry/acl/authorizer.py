"""What a set of rules says about one request.

An exact rule beats any prefix, a longer prefix a shorter one; of rules about the same label the stricter
of "deny" and the more generous of the others wins; where none matches, the default decides.
"""

from collections.abc import Iterable, Iterator

from .access import Access, Grant
from .rules import Rules

ANY = "*"


class _Labels:
    """The rules about one resource."""

    __slots__ = ("_exact", "_lengths", "_prefixes")

    def __init__(self) -> None:
        self._exact: dict[str, Grant] = {}
        self._prefixes: dict[str, Grant] = {}
        self._lengths: tuple[int, ...] = ()  # of the prefixes, longest first

    def add(self, label: str, is_prefix: bool, grant: Grant) -> None:
        table = self._prefixes if is_prefix else self._exact
        table[label] = max(grant, table.get(label, grant))
        if is_prefix:
            self._lengths = tuple(sorted({*self._lengths, len(label)}, reverse=True))

    def find(self, label: str) -> Grant | None:
        """The grant that decides about `label`; None: no rule does."""
        found = self._exact.get(label)
        if found is None and self._prefixes:
            found = self.find_prefix(label)
        return found

    def find_prefix(self, label: str) -> Grant | None:
        """As `find`, for all that begins with `label`: exact rules do not count."""
        for length in self._lengths:
            if length <= len(label) and (found := self._prefixes.get(label[:length])) is not None:
                return found
        return None

    def beneath(self, prefix: str) -> Iterator[Grant]:
        """What is said about narrower labels than `prefix` itself."""
        for table in (self._exact, self._prefixes):
            yield from (grant for label, grant in table.items() if label.startswith(prefix))

    def every(self) -> Iterator[Grant]:
        yield from self._exact.values()
        yield from self._prefixes.values()


class Authorizer:
    """Answers for one set of policies. Immutable once built; equal policies make equal answers."""

    __slots__ = ("_default", "_intentions", "_labels", "_plain")

    def __init__(self, policies: Iterable[Rules], *, default_allow: bool) -> None:
        self._default = default_allow
        self._plain: dict[str, Grant] = {}
        self._labels: dict[str, _Labels] = {}
        self._intentions = _Labels()
        for rules in policies:
            for resource, grant in rules.plain:
                self._plain[resource] = max(grant, self._plain.get(resource, grant))
            for rule in rules.labelled:
                labels = self._labels.setdefault(rule.resource, _Labels())
                labels.add(rule.label, rule.is_prefix, rule.grant)
                if rule.resource == "service":
                    intentions = rule.intentions or _implied(rule.grant)
                    self._intentions.add(rule.label, rule.is_prefix, intentions)

    def allows(self, resource: str, label: str, access: Access) -> bool:
        """May `access` be had to one thing? Plain resources have the label ""."""
        if (plain := self._plain.get(resource)) is not None:
            return plain.allows(access)
        labels = self._labels.get(resource)
        found = labels.find(label) if labels else None
        return self._default if found is None else found.allows(access)

    def allows_all(self, resource: str, access: Access, prefix: str = "") -> bool:
        """May `access` be had to everything that begins with `prefix`?"""
        labels = self._labels.get(resource)
        if labels is None:
            return self._default
        found = labels.find_prefix(prefix)
        general = self._default if found is None else found.allows(access)
        return general and all(grant.allows(access) for grant in labels.beneath(prefix))

    def allows_any(self, resource: str, access: Access) -> bool:
        """Is there anything that `access` may be had to?"""
        labels = self._labels.get(resource)
        return self._default or (labels is not None and any(grant.allows(access) for grant in labels.every()))

    def allows_intention(self, destination: str, access: Access) -> bool:
        """May the intentions on calls to `destination` be read, or written? "*" is all services: reading
        takes a right to read some of them, writing takes all."""
        if destination == ANY and access is Access.READ:
            return self._default or any(grant.allows(access) for grant in self._intentions.every())
        if destination == ANY:
            found = self._intentions.find_prefix("")
            general = self._default if found is None else found.allows(access)
            return general and all(grant.allows(access) for grant in self._intentions.every())
        found = self._intentions.find(destination)
        return self._default if found is None else found.allows(access)


def _implied(grant: Grant) -> Grant:
    """Who may read or write a service may read its intentions; writing them is given apart."""
    return Grant.DENY if grant is Grant.DENY else Grant.READ


ALLOW_ALL = Authorizer((), default_allow=True)
DENY_ALL = Authorizer((), default_allow=False)
