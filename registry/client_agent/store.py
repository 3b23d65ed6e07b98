"""Registrations on disk: one file for each service with its checks, one for the checks of the node.

A file is replaced whole or not at all, so after a crash each service is as before or as after. The name is a
digest, for ids may hold what file names may not. What cannot be read stops the start: going on without
would deregister the service everywhere.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from weft.errors import DataDirProblem, EnvironmentProblem
from weft.files import read_private, write_private
from weft.pb.catalog.v1 import state_pb2 as pb

from ..catalog import codec
from ..catalog.model import Check, Service

FOLDER = "services"
FILE_BYTES_MAX = 4 * 1024 * 1024  # 64 checks with outputs of 4 KiB are a sixteenth of it


@dataclass(frozen=True, slots=True)
class Registration:
    """What one file holds. `service` is None for the checks of the node itself."""

    service: Service | None
    checks: tuple[Check, ...]

    @property
    def key(self) -> str:
        """The service's id; "" for the node."""
        return self.service.id if self.service else ""


class Store:
    """Files under `path`, which exists."""

    def __init__(self, path: Path) -> None:
        self._folder = path / FOLDER

    def load(self) -> list[Registration]:
        """Everything that was kept, by file name. Raises DataDirProblem, ConfigError."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            files = sorted(self._folder.glob("*.json"))
        except OSError as error:
            raise DataDirProblem(f"{self._folder}: {error.strerror}; mend its owner or mode") from error
        return [_read(file) for file in files]

    def keep(self, rows: Registration) -> None:
        """Raises EnvironmentProblem."""
        service = rows.service
        document = {
            "service": _plain(codec.service_to_pb(service)) if service else None,
            "checks": [_plain(codec.check_to_pb(row)) for row in rows.checks],
        }
        write_private(self._file(rows.key), orjson.dumps(document, option=orjson.OPT_INDENT_2))

    def drop(self, key: str) -> None:
        """Also when there is nothing by that key. Raises EnvironmentProblem."""
        file = self._file(key)
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise EnvironmentProblem(
                f"cannot delete {file} ({error.strerror}); make {file.parent} writable"
            ) from error

    def _file(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _plain(message: Any) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def _read(file: Path) -> Registration:
    try:
        document = orjson.loads(read_private(file, "registration", FILE_BYTES_MAX))
        given = document["service"]
        service = codec.service_from_pb(ParseDict(given, pb.Service())) if given else None
        checks = tuple(codec.check_from_pb(ParseDict(row, pb.Check())) for row in document["checks"])
    except (orjson.JSONDecodeError, ParseError, KeyError, TypeError, AttributeError):
        raise DataDirProblem(
            f"{file}: is no registration that this version can read; delete it to go on without that service"
        ) from None
    return Registration(service, checks)


def registrations(services: Iterable[Service], checks: Iterable[Check]) -> Iterator[Registration]:
    """Rows of one node, as files hold them."""
    of: dict[str, list[Check]] = {}
    for check in checks:
        of.setdefault(check.service_id, []).append(check)
    for service in services:
        yield Registration(service, tuple(of.pop(service.id, ())))
    if alone := of.get(""):
        yield Registration(None, tuple(alone))
