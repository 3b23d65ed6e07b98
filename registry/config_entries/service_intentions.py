"""service-intentions: who may call a service, as one entry. The table of intentions is its other view."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import orjson

from . import checks
from .entry import Entry
from .errors import InvalidEntry, UnreadableEntry
from .fields import derived, nested, objects, tenancy, text, unsupported
from .matching import GrpcRules, HttpRules, JwtRequirement
from .schema import canonical_json, read, refuse_unless, show

SOURCES_MAX = 4096
PERMISSIONS_MAX = 128
ACTIONS = ("allow", "deny")
DESCRIPTION_CHARS_MAX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    action: str = text("Action", "What becomes of a request that it matches.", choices=ACTIONS)
    http: HttpRules | None = nested("HTTP", HttpRules, "Every request where absent.")
    grpc: GrpcRules | None = nested("GRPC", GrpcRules, "Instead of a path.")
    jwt: JwtRequirement | None = nested("JWT", JwtRequirement, "A token that matching requests must bear.")

    def check(self, path: str) -> None:
        refuse_unless(self.action, path, "Action", "is missing: allow or deny")
        refuse_unless(self.http or self.grpc or self.jwt, path, "", "give HTTP, GRPC or JWT")
        http = self.http
        has_path = http and (http.path_exact or http.path_prefix or http.path_regex)
        refuse_unless(not (self.grpc and has_path), path, "GRPC", "stands for a path; leave the other out")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceIntention:
    name: str = text("Name", "Calling service, or `*`.", check=checks.service_or_any)
    action: str = text("Action", "Of all its calls.", choices=ACTIONS)
    permissions: tuple[Permission, ...] = objects(
        "Permissions",
        Permission,
        "The first that matches decides; else the call is denied.",
        most=PERMISSIONS_MAX,
    )
    description: str = text("Description", "For people.", most=DESCRIPTION_CHARS_MAX)
    type: str = text("Type", "Of the source.", choices=("consul",))
    namespace: None = tenancy("Namespace")
    partition: None = tenancy("Partition")
    peer: None = unsupported("Peer", "clusters do not peer yet")
    sameness_group: None = unsupported("SamenessGroup", "groups of clusters are not known here")
    precedence: None = derived("Precedence", "Worked out from the names: 9, 8, 6 or 5.")
    legacy_id: None = derived("LegacyID", "Of answers.")
    legacy_meta: None = derived("LegacyMeta", "Of answers.")
    legacy_created: None = derived("LegacyCreateTime", "Of answers.")
    legacy_updated: None = derived("LegacyUpdateTime", "Of answers.")

    def check(self, path: str) -> None:
        refuse_unless(self.name, path, "Name", "is missing: a service or *")
        refuse_unless(
            bool(self.action) != bool(self.permissions), path, "Action", "give either Action or Permissions"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceIntentions(Entry):
    """Who may call a service. Name is the destination, or `*`."""

    KIND: ClassVar[str] = "service-intentions"

    sources: tuple[SourceIntention, ...] = objects(
        "Sources", SourceIntention, "One for each caller.", most=SOURCES_MAX
    )
    jwt: JwtRequirement | None = nested("JWT", JwtRequirement, "A token that every request must bear.")

    def check(self, path: str) -> None:
        refuse_unless(self.sources, path, "Sources", "is missing: at least one source is required")
        names = set[str]()
        for at, source in enumerate(self.sources):
            refuse_unless(
                source.name not in names, path, f"Sources[{at}].Name", f"{source.name!r} is there twice"
            )
            names.add(source.name)
            refuse_unless(
                self.name != "*" or not source.permissions,
                path, f"Sources[{at}].Permissions", "not with the destination *",
            )  # fmt: skip


def permissions_of(raw: object) -> tuple[Permission, ...]:
    """Of the intentions API. Raises InvalidEntry."""
    if not isinstance(raw, list):
        raise UnreadableEntry("Permissions", "must be a list")
    if len(raw) > PERMISSIONS_MAX:
        raise InvalidEntry("Permissions", f"has {len(raw)} items, the most is {PERMISSIONS_MAX}")
    return tuple(read(Permission, item, f"Permissions[{at}]") for at, item in enumerate(raw))


def encoded_permissions(permissions: tuple[Permission, ...]) -> bytes:
    """Canonical JSON; nothing for none."""
    return canonical_json([show(it) for it in permissions]) if permissions else b""


@lru_cache(4096)
def decoded_permissions(body: bytes) -> tuple[Permission, ...]:
    """What `encoded_permissions` was given. Raises InvalidEntry."""
    return permissions_of(_loaded(body, "Permissions")) if body else ()


def encoded_jwt(jwt: JwtRequirement | None) -> bytes:
    """Canonical JSON; nothing for none."""
    return canonical_json(show(jwt)) if jwt else b""


@lru_cache(1024)
def decoded_jwt(body: bytes) -> JwtRequirement | None:
    """What `encoded_jwt` was given. Raises InvalidEntry."""
    return read(JwtRequirement, _loaded(body, "JWT"), "JWT") if body else None


def _loaded(body: bytes, path: str) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnreadableEntry(path, str(error)) from None


def providers_of(permissions: tuple[Permission, ...], *jwts: JwtRequirement | None) -> frozenset[str]:
    """Names of the JWT providers that they need."""
    needed = (*(it.jwt for it in permissions), *jwts)
    return frozenset(provider.name for jwt in needed if jwt for provider in jwt.providers)
