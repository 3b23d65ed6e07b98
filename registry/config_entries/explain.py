"""What the classes of kinds say of their fields, as the page for people (docs/config-entries.md)."""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from . import matching
from .entry import Entry
from .kinds import KINDS
from .schema import fields_of
from .service_defaults import ActiveHealthCheck, UpstreamConfig

SHARED: dict[type, str] = {
    matching.HttpRules: "HTTP rules",
    matching.GrpcRules: "gRPC rules",
    matching.HeaderEdits: "Header edits",
    matching.HashPolicy: "Hash policies",
    matching.JwtRequirement: "Tokens",
    UpstreamConfig: "Upstream settings",
    ActiveHealthCheck: "Health checks",
}
"""Objects that several kinds have: explained once."""


class Row(NamedTuple):
    """One field. `path` begins at the entry."""

    path: str
    what: str
    doc: str


def rows_of(kind: type, prefix: str = "") -> Iterator[Row]:
    """Fields in the order of the class, those of objects in them after them."""
    common = fields_of(Entry) if issubclass(kind, Entry) else {}
    for key, (_, spec, _) in fields_of(kind).items():
        if key in common or not spec.is_supported:
            continue
        path = f"{prefix}{spec.name}"
        shared = SHARED.get(spec.inner) if spec.inner else None
        what = f"{spec.what}: [{shared}](#{shared.lower().replace(' ', '-')})" if shared else spec.what
        yield Row(path, what, spec.doc)
        if spec.inner and not shared:
            mark = "." if spec.what == "object" else '["…"].' if "by name" in spec.what else "[]."
            yield from rows_of(spec.inner, path + mark)


def unsupported(kind: type[Entry]) -> Iterator[Row]:
    """Consul's fields that are refused unless they are empty."""
    common = fields_of(Entry)
    for key, (_, spec, _) in fields_of(cast(Any, kind)).items():
        if key not in common and not spec.is_supported:
            yield Row(spec.name, "", spec.doc)


def page(intro: str, examples: dict[str, str]) -> str:
    """The whole page; `examples` are files by kind."""
    parts = [intro.strip()]
    for name, kind in KINDS.items():
        parts.append(f"## {name}\n\n{_told(kind)}")
        parts.append(f"```hcl\n{examples[name].strip()}\n```")
        parts.append(_table(rows_of(kind)))
        if refused := list(unsupported(kind)):
            listed = "; ".join(f"`{row.path}` ({row.doc})" for row in refused)
            parts.append(f"Refused unless empty: {listed}.")
    for kind, title in SHARED.items():
        parts.append(f"## {title}\n\n{_told(kind)}\n\n{_table(rows_of(kind))}")
    return "\n\n".join(parts) + "\n"


def _told(kind: type) -> str:
    said = (kind.__doc__ or "").strip()
    only = getattr(kind, "ONLY_NAME", "")
    is_generated = said.startswith(f"{kind.__name__}(")  # what a dataclass says of itself
    lines = [] if is_generated else [" ".join(said.split())]
    return " ".join([*lines, *([f"Its only name is `{only}`."] if only else [])]).strip()


def _table(rows: Iterator[Row]) -> str:
    head = "| Field | Value | |\n|---|---|---|\n"
    return head + "\n".join(f"| `{row.path}` | {row.what} | {row.doc} |" for row in rows)
