"""What a request is like, how it is hashed, and how its headers are edited: parts that several kinds have."""

from collections.abc import Mapping
from dataclasses import dataclass

from . import checks
from .fields import duration, flag, integer, nested, objects, pattern, text, text_map, texts
from .schema import refuse_unless

YEAR_MS = 365 * 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderMatch:
    name: str = text("Name", "Header.", check=checks.header_name)
    present: bool = flag("Present", "It is there, whatever its value.")
    exact: str = text("Exact", "Its value.", check=checks.header_value)
    prefix: str = text("Prefix", "What its value begins with.", check=checks.header_value)
    suffix: str = text("Suffix", "What its value ends with.", check=checks.header_value)
    contains: str = text("Contains", "What is in its value.", check=checks.header_value)
    regex: str = pattern("Regex", "The whole value.")
    invert: bool = flag("Invert", "The match holds where this does not.")
    ignore_case: bool = flag("IgnoreCase", "Not with Present or Regex: `(?i)` says so there.")

    def check(self, path: str) -> None:
        given = (self.present, self.exact, self.prefix, self.suffix, self.contains, self.regex)
        refuse_unless(self.name, path, "Name", "is missing")
        refuse_unless(
            sum(map(bool, given)) == 1,
            path,
            "",
            "give one of Present, Exact, Prefix, Suffix, Contains, Regex",
        )
        refuse_unless(
            not self.ignore_case or not (self.present or self.regex),
            path,
            "IgnoreCase",
            "not with Present or Regex",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMatch:
    name: str = text("Name", "Query parameter.")
    present: bool = flag("Present", "It is there, whatever its value.")
    exact: str = text("Exact", "Its value.")
    regex: str = pattern("Regex", "The whole value.")

    def check(self, path: str) -> None:
        refuse_unless(self.name, path, "Name", "is missing")
        given = (self.present, self.exact, self.regex)
        refuse_unless(sum(map(bool, given)) == 1, path, "", "give one of Present, Exact, Regex")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRules:
    """All that is given must hold."""

    path_exact: str = text("PathExact", "The path.", check=checks.http_path)
    path_prefix: str = text("PathPrefix", "What the path begins with.", check=checks.http_path)
    path_regex: str = pattern("PathRegex", "The whole path.")
    case_insensitive: bool = flag("CaseInsensitive", "Of PathExact and PathPrefix.")
    headers: tuple[HeaderMatch, ...] = objects("Header", HeaderMatch, "All of them.", most=32)
    query: tuple[QueryMatch, ...] = objects("QueryParam", QueryMatch, "All of them.", most=32)
    methods: tuple[str, ...] = texts("Methods", "One of them.", check=checks.method)

    def check(self, path: str) -> None:
        given = (self.path_exact, self.path_prefix, self.path_regex)
        refuse_unless(
            sum(map(bool, given)) <= 1, path, "", "give at most one of PathExact, PathPrefix, PathRegex"
        )
        refuse_unless(
            not self.case_insensitive or self.path_exact or self.path_prefix,
            path, "CaseInsensitive", "goes with PathExact or PathPrefix; in a PathRegex write (?i)",
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcRules:
    """A call of gRPC: what stands in its path."""

    service: str = text("Service", "Full name, as `shop.Orders`.", check=checks.grpc_name)
    method: str = text("Method", "Of any service where none is given.", check=checks.grpc_name)

    def check(self, path: str) -> None:
        refuse_unless(self.service or self.method, path, "", "give Service, Method or both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    http: HttpRules | None = nested("HTTP", HttpRules, "Path, headers, query, methods.")
    grpc: GrpcRules | None = nested("GRPC", GrpcRules, "Instead of a path.")

    def check(self, path: str) -> None:
        http = self.http
        has_path = http and (http.path_exact or http.path_prefix or http.path_regex)
        refuse_unless(not (self.grpc and has_path), path, "GRPC", "stands for a path; leave the other out")


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundMatch(Match):
    """As Match, where the caller is proven."""

    sources: tuple[str, ...] = texts(
        "Sources", "Calling services; any where empty.", check=checks.service_name
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderEdits:
    """`Remove` comes first, then `Set`, then `Add`."""

    add: Mapping[str, str] = text_map("Add", "Headers to append.", check=checks.header_edit)
    set: Mapping[str, str] = text_map("Set", "Headers to replace.", check=checks.header_edit)
    remove: tuple[str, ...] = texts("Remove", "Headers to drop.", check=checks.editable_header)


@dataclass(frozen=True, slots=True, kw_only=True)
class CookieConfig:
    session: bool = flag("Session", "The cookie ends with the browser.")
    ttl_ms: int = duration("TTL", "How long the cookie lives; one is made where there is none.", YEAR_MS)
    path: str = text("Path", "Of the cookie.", check=checks.http_path)

    def check(self, path: str) -> None:
        refuse_unless(not (self.session and self.ttl_ms), path, "TTL", "not with Session")


HASHED = ("header", "cookie", "query_parameter")


@dataclass(frozen=True, slots=True, kw_only=True)
class HashPolicy:
    """What of a request is hashed."""

    field: str = text("Field", "Where the value stands.", choices=HASHED)
    field_value: str = text("FieldValue", "Name of the header, cookie or parameter.")
    cookie: CookieConfig | None = nested("CookieConfig", CookieConfig, "Of a cookie that is made.")
    source_ip: bool = flag("SourceIP", "The caller's address; without Field.")
    terminal: bool = flag("Terminal", "Where this has a value, no further policy is looked at.")

    def check(self, path: str) -> None:
        refuse_unless(bool(self.field) != self.source_ip, path, "", "give either Field or SourceIP")
        refuse_unless(bool(self.field) == bool(self.field_value), path, "FieldValue", "goes with Field")
        refuse_unless(not self.cookie or self.field == "cookie", path, "CookieConfig", "needs Field cookie")
        if self.field in ("header", "cookie"):
            checks.header_name(self.field_value, f"{path}.FieldValue")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    path: tuple[str, ...] = texts("Path", "From the payload's root.", most=8)
    value: str = text("Value", "Equal to the claim, or one of it where that is a list.")

    def check(self, path: str) -> None:
        refuse_unless(self.path, path, "Path", "is missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtProviderRef:
    name: str = text("Name", "Of a jwt-provider.", check=checks.service_name)
    claims: tuple[Claim, ...] = objects("VerifyClaims", Claim, "All must hold.", most=16)

    def check(self, path: str) -> None:
        refuse_unless(self.name, path, "Name", "is missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtRequirement:
    """A valid token of one of the providers."""

    providers: tuple[JwtProviderRef, ...] = objects("Providers", JwtProviderRef, "One of them.", most=16)

    def check(self, path: str) -> None:
        refuse_unless(self.providers, path, "Providers", "is missing")


PORT_MAX = 65_535


def port(name: str, doc: str) -> int:
    found: int = integer(name, doc, 0, PORT_MAX)
    return found
