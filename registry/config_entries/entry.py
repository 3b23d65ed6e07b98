"""What all kinds have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .errors import InvalidEntry
from .fields import derived, tenancy, text, text_map

META_PAIRS_MAX = 64  # as of services


def _meta(key: str, value: str, path: str) -> None:
    if not key or not key.isprintable():
        raise InvalidEntry(path, "has a key that is empty or not printable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One config entry. Two with the same content are equal."""

    KIND: ClassVar[str] = ""
    ONLY_NAME: ClassVar[str] = ""  # of kinds that have one entry for the whole mesh

    kind: str = text("Kind", "The kind.")
    name: str = text("Name", "What it is about: a service, or the one name of the kind.")
    meta: Mapping[str, str] = text_map(
        "Meta", "Notes for people and programs.", check=_meta, most=META_PAIRS_MAX
    )
    namespace: None = tenancy("Namespace")
    partition: None = tenancy("Partition")
    create_index: None = derived("CreateIndex", "Of answers.")
    modify_index: None = derived("ModifyIndex", "Of answers.")
    hash: None = derived("Hash", "Of answers.")
