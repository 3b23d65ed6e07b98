"""Watch keys: the narrowest things that a reader can wait for.

Each key has an index that moves only when what it covers changes, deletions included.
"""

from typing import TypeAlias

from .limits import KV_WATCHED_DEPTH_MAX

WatchKey: TypeAlias = tuple[str, ...]

NODES: WatchKey = ("nodes",)  # any node's own row
SERVICES: WatchKey = ("services",)  # the set of service names and tags
CHECKS: WatchKey = ("checks",)  # any check
INTENTIONS: WatchKey = ("intentions",)  # any intention
ROOTS: WatchKey = ("roots",)  # trust bundles
AUTHORITY: WatchKey = ("authority",)  # the CA's settings, key and rotation
SESSIONS: WatchKey = ("sessions",)  # any session
EVENTS: WatchKey = ("events",)  # user events
COORDINATES: WatchKey = ("coordinates",)  # of any node
QUERIES: WatchKey = ("queries",)  # prepared queries
EXPERIMENTS: WatchKey = ("experiments",)  # running or ended
REVOCATIONS: WatchKey = ("revocations",)  # leaves to refuse
AUTOPILOT: WatchKey = ("autopilot",)  # what the leader does about servers that are gone
JOIN_TOKENS: WatchKey = ("join-tokens",)  # what agents may join by
MEMBERS: WatchKey = ("members",)  # agents that have joined
ACL: WatchKey = ("acl",)  # tokens, policies, roles, auth methods and binding rules
EVERYTHING: WatchKey = ("*",)  # touched when another state has taken the place of this one


def node(name: str) -> WatchKey:
    """The node's row, its services and its checks."""
    return ("node", name)


def service(name: str) -> WatchKey:
    """Instances of the service, their checks, and the nodes they are on."""
    return ("service", name)


def connect(name: str) -> WatchKey:
    """Mesh endpoints of the service: its proxies and native instances, their checks and nodes."""
    return ("connect", name)


def instance(key: str) -> WatchKey:
    """The row of one service instance."""
    return ("instance", key)


def credential(key: str) -> WatchKey:
    """The credential of one service instance: minted, replaced, revoked."""
    return ("credential", key)


def intention_destination(name: str) -> WatchKey:
    """Intentions whose destination is exactly this name (or "*")."""
    return ("intention-destination", name)


def intention_source(name: str) -> WatchKey:
    """Intentions whose source is exactly this name (or "*")."""
    return ("intention-source", name)


def config_kind(kind: str) -> WatchKey:
    """Config entries of a kind."""
    return ("config-kind", kind)


def config_entry(kind: str, name: str) -> WatchKey:
    """One config entry."""
    return ("config-entry", f"{kind}/{name}")


def experiments_on(service: str) -> WatchKey:
    """Experiments on the requests of one service."""
    return ("experiments-on", service)


def session(session_id: str) -> WatchKey:
    """One session."""
    return ("session", session_id)


def kv(key: str) -> WatchKey:
    """One key."""
    return ("kv", key)


def kv_directory(prefix: str) -> WatchKey:
    """The narrowest directory that holds all keys with this prefix; "a/b" and "a/" have "a/"."""
    return kv_directories(prefix)[-1]


def kv_directories(key: str) -> list[WatchKey]:
    """The directories that the key is in, the widest first; those further down count as the last one."""
    found: list[WatchKey] = [("kv-directory", "")]
    end = 0
    while len(found) <= KV_WATCHED_DEPTH_MAX and (end := key.find("/", end) + 1):
        found.append(("kv-directory", key[:end]))
    return found
