"""What can be guarded, and how much of it may be done."""

from enum import IntEnum


class Access(IntEnum):
    """What is asked for. A higher one includes the lower ones."""

    READ = 1
    LIST = 2  # of keys: reading many at once, where that is told apart from reading
    WRITE = 3

    @property
    def word(self) -> str:
        return self.name.lower()


class Grant(IntEnum):
    """What a rule says. Where two rules of equal weight meet, the higher one wins (deny-wins)."""

    READ = 1
    LIST = 2
    WRITE = 3
    DENY = 4

    def allows(self, access: Access) -> bool:
        return self is not Grant.DENY and self >= access


LABELLED = ("agent", "event", "key", "node", "query", "service", "session")
"""Resources whose rules name one thing (`key "a"`) or many (`key_prefix "a/"`)."""

PLAIN = ("acl", "keyring", "mesh", "operator", "peering")
"""Resources that there is one of (`operator = "read"`)."""
