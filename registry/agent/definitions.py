"""Files that define services and checks of this machine: read at the start, again when they change or when
somebody asks, and what has left them is deregistered.

What is defined here is remembered by id on disk before it is registered, so that a process which was down
when a definition left its file still knows that it came from one. What the API registered is never touched.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson
import structlog

from weft.errors import ConfigError, DataDirProblem, Unavailable, WeftError
from weft.files import read_private, write_private

from .definition_files import SUFFIXES, Defined, Definitions, read_definitions
from .local import Agent
from .runner import Runner

log = structlog.get_logger(__name__)

FILES_MAX = 4096
FILE_BYTES_MAX = 512 * 1024
REMEMBERED = "defined.json"
LOOK_S = 0.5  # a file counts as changed once two looks in a row have found it the same
RETRY_S = 1.0
_READABLE = 0  # definitions need not be secret; a token in one is its owner's choice

Signature = tuple[tuple[str, int, int, int], ...]


class DefinitionPaths(NamedTuple):
    """Where definitions are."""

    files: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()


NO_DEFINITIONS = DefinitionPaths()


class Ids(NamedTuple):
    """What files define."""

    services: frozenset[str] = frozenset()
    checks: frozenset[str] = frozenset()


async def _nobody(_registered: Sequence[Defined]) -> None:
    """A server registers in its own name: it needs no tokens of definitions."""


class DefinitionFiles:
    """Those of one machine. `memory` is the data directory; None remembers nothing over restarts.
    `registered` hears of the services and their tokens once they are registered. Raises DataDirProblem."""

    def __init__(
        self,
        paths: DefinitionPaths,
        agent: Agent,
        runner: Runner,
        memory: Path | None,
        registered: Callable[[Sequence[Defined]], Awaitable[None]] = _nobody,
    ) -> None:
        self._where = paths
        self._agent = agent
        self._runner = runner
        self._memory = memory / REMEMBERED if memory else None
        self._registered = registered
        self._turn = asyncio.Lock()
        self._known = _recall(self._memory)
        self._seen: Signature = ()  # of what was read last, well or not
        self._loaded = False

    def read(self) -> Definitions:
        """What the files say now. Raises InvalidDefinition, ConfigError."""
        texts = []
        for path in self._paths():
            data = read_private(path, "definition", FILE_BYTES_MAX, _READABLE)
            try:
                texts.append((str(path), data.decode()))
            except UnicodeDecodeError as error:
                raise ConfigError(f"{path}: is not UTF-8 ({error})") from None
        return read_definitions(texts, self._agent.home)

    def _paths(self) -> list[Path]:
        """Files first, then those of folders by name, as Consul reads them. Raises ConfigError."""
        found = list(self._where.files)
        for folder in self._where.folders:
            try:
                found += sorted(it for it in folder.iterdir() if it.suffix in SUFFIXES)
            except OSError as error:
                raise ConfigError(
                    f"--config-dir {folder}: cannot be read ({error.strerror}); check the path"
                ) from error
        if len(found) > FILES_MAX:
            raise ConfigError(f"--config-dir: over {FILES_MAX} definition files; put several into one")
        return found

    async def reload(self) -> None:
        """All of it is in force, or nothing has changed. Raises InvalidDefinition, ConfigError, NoPortLeft,
        and what Log.propose raises."""
        async with self._turn:
            self._seen = await asyncio.to_thread(self._signature)  # first: what changes now is read again
            found = await asyncio.to_thread(self.read)
            for line in found.left_aside:
                log.info("keys of a definition file", told=line)
            now = _ids(found)
            await self._remember(Ids(self._known.services | now.services, self._known.checks | now.checks))
            await self._agent.define([it.spec for it in found.services], found.checks)
            await self._registered(found.services)
            gone = Ids(self._known.services - now.services, self._known.checks - now.checks)
            await self._agent.withdraw(sorted(gone.services), sorted(gone.checks))
            await self._remember(now)
            self._runner.sync()
            self._loaded = True
            log.info(
                "definitions", services=len(now.services), checks=len(now.checks), removed=sum(map(len, gone))
            )

    async def _remember(self, ids: Ids) -> None:
        if ids != self._known and self._memory:
            document = orjson.dumps({"services": sorted(ids.services), "checks": sorted(ids.checks)})
            await asyncio.to_thread(write_private, self._memory, document)
        self._known = ids

    async def run(self) -> None:
        """Loads, again until the log takes it, and then whenever a file has changed: for ever, where there
        are any."""
        while not self._loaded:
            try:
                await self.reload()
            except Unavailable as error:
                log.warning("definitions are not loaded yet", reason=str(error))
                await asyncio.sleep(RETRY_S)
            except WeftError as error:
                log.error("definitions are not loaded", reason=str(error))
                break
        if any(self._where):
            await self._watch()

    async def _watch(self) -> None:
        """What is wrong is logged, and changes nothing."""
        before = self._seen
        while True:
            await asyncio.sleep(LOOK_S)
            now = await asyncio.to_thread(self._signature)
            if now == before and now != self._seen:
                await self._try()
            before = now

    async def _try(self) -> None:
        try:
            await self.reload()
        except WeftError as error:
            log.error("definitions are not reloaded: what was registered stays", reason=str(error))

    def _signature(self) -> Signature:
        """Another one when a file is another. What cannot be read is a matter for `read`."""
        found = []
        try:
            for path in self._paths():
                about = path.stat()
                found.append((os.fspath(path), about.st_mtime_ns, about.st_size, about.st_ino))
        except (OSError, ConfigError):
            found.append(("", 0, 0, 0))
        return tuple(found)


def _ids(found: Definitions) -> Ids:
    services = frozenset(it.spec.service.id for it in found.services)
    of_services = {row.id for it in found.services for row in it.spec.checks}
    return Ids(services, frozenset(of_services | {spec.id or spec.name for spec in found.checks}))


def _recall(file: Path | None) -> Ids:
    """Raises DataDirProblem."""
    if file is None or not file.exists():
        return Ids()
    try:
        found = orjson.loads(read_private(file, "definition", FILE_BYTES_MAX * 8))
        return Ids(frozenset(map(str, found["services"])), frozenset(map(str, found["checks"])))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise DataDirProblem(
            f"{file}: cannot be read; delete it, and deregister by hand what has left the definition files"
        ) from None
