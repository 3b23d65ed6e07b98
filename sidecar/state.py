"""The state directory: what a sidecar needs to serve again while the registry is down.

Two files, each replaced whole and readable by its owner only: `config` (the resources of the last
configuration applied) and `svid.pem` (certificate chain and key).
"""

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from weft.errors import ConfigError, DataDirProblem, EnvironmentProblem
from weft.files import read_private, write_private
from weft.limits import CONFIG_MESSAGE_BYTES_MAX
from weft.pb.mesh.v1 import mesh_pb2

from .errors import RegistryUnreachable
from .identity import Svid, svid_of_pem

MAGIC = b"weft sidecar state "
VERSION = b"1"
MODE_DIRECTORY = 0o700

log = structlog.get_logger(__name__)


class StateDir:
    """`path` is made if missing. Raises DataDirProblem when it cannot be used, or is another instance's."""

    def __init__(self, path: Path, instance_key: str) -> None:
        self._config = path / "config"
        self._svid = path / "svid.pem"
        self._instance_key = instance_key
        try:
            path.mkdir(mode=MODE_DIRECTORY, parents=True, exist_ok=True)
        except OSError as error:
            raise DataDirProblem(
                f"state directory {path}: cannot be made ({error.strerror}); give another --state-dir"
            ) from error

    def load_config(self) -> tuple[dict[str, mesh_pb2.Resource], int] | None:
        """The resources and their index, or None where there are none that can be used.

        Raises DataDirProblem when they were written for another instance or by another version.
        """
        if not self._config.exists():
            return None
        head, _, rest = _read(self._config, "cached configuration").partition(b"\n")
        if not head.startswith(MAGIC):
            raise DataDirProblem(f"{self._config} is not a state file of weft; give another --state-dir")
        if head != MAGIC + VERSION:
            raise DataDirProblem(
                f"{self._config} was written by another version; upgrade, or remove the file to start anew"
            )
        return self._checked(rest)

    def save_config(self, resources: Mapping[str, mesh_pb2.Resource], index: int) -> None:
        """Raises EnvironmentProblem."""
        body = mesh_pb2.Delta(index=index, upserts=resources.values()).SerializeToString()
        write_private(self._config, b"".join((MAGIC, VERSION, b"\n", hashlib.sha256(body).digest(), body)))

    def load_svid(self, now: float) -> Svid | None:
        """The cached certificate if it is still valid at `now`; it is due for renewal at once."""
        if not self._svid.exists():
            return None
        try:
            svid = svid_of_pem(_read(self._svid, "cached certificate"), now)
        except (ValueError, RegistryUnreachable) as error:
            log.warning("cached certificate ignored", error=str(error))
            return None
        return svid if svid.not_after > now else None

    def save_svid(self, svid: Svid) -> None:
        """Raises EnvironmentProblem."""
        write_private(self._svid, svid.chain_pem + svid.key_pem)

    def clear(self) -> None:
        """Removes both files: the credential they stand for was withdrawn."""
        for path in (self._config, self._svid):
            path.unlink(missing_ok=True)

    def _checked(self, content: bytes) -> tuple[dict[str, mesh_pb2.Resource], int] | None:
        digest, body = content[:32], content[32:]
        try:
            if hashlib.sha256(body).digest() != digest:
                raise DecodeError("checksum differs")
            delta = mesh_pb2.Delta.FromString(body)
        except DecodeError as error:
            log.warning("cached configuration ignored", error=str(error))
            return None
        resources = {resource.name: resource for resource in delta.upserts}
        owner = resources["proxy"].proxy.instance_key if "proxy" in resources else ""
        if owner != self._instance_key:
            raise DataDirProblem(
                f"{self._config} belongs to instance {owner!r}; give each instance its own --state-dir"
            )
        return resources, delta.index


def _read(path: Path, what: str) -> bytes:
    try:
        return read_private(path, what, CONFIG_MESSAGE_BYTES_MAX)
    except ConfigError as error:
        raise DataDirProblem(str(error)) from error


class StateWriter:
    """Writes the newest state in a thread: an fsync takes milliseconds that the event loop has not."""

    def __init__(self, directory: StateDir) -> None:
        self._directory = directory
        self._config: tuple[Mapping[str, mesh_pb2.Resource], int] | None = None
        self._svid: Svid | None = None
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()

    def config(self, resources: Mapping[str, mesh_pb2.Resource], index: int) -> None:
        self._config = (dict(resources), index)
        self._news.set()

    def svid(self, svid: Svid) -> None:
        self._svid = svid
        self._news.set()

    async def run(self) -> None:
        """Writes whatever is new, for ever."""
        while True:
            await self._news.wait()
            await self.flush()

    async def flush(self) -> None:
        """Writes what is new. A full disk is logged and serving goes on."""
        self._news.clear()
        async with self._writing:
            config, self._config = self._config, None
            svid, self._svid = self._svid, None
            try:
                if svid is not None:
                    await asyncio.to_thread(self._directory.save_svid, svid)
                if config is not None:
                    await asyncio.to_thread(self._directory.save_config, *config)
            except EnvironmentProblem as error:
                log.warning("state not saved", error=str(error))

    async def clear(self) -> None:
        """Removes what is on disk, and what waited to be."""
        async with self._writing:
            self._config = self._svid = None
            self._directory.clear()
