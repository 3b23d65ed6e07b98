"""The agent's tokens and those that services were registered with, kept over restarts (mode 0600).

A service is told to the servers with its own token, as in Consul: the agent's need not write every service.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import orjson

from weft.errors import DataDirProblem
from weft.files import read_private, write_private

from ..agent.definition_files import Defined
from ..agent.sidecar_service import SUFFIX
from ..identity.agent_tokens import AgentTokens

FILE = "tokens.json"
FILE_BYTES_MAX = 16 * 1024 * 1024  # 10,000 services with tokens of 256 characters are a fifth of it


class KeptTokens(AgentTokens):
    """`given` are those of the command line, which win over what was kept; `alive` tells the ids of services
    that are registered. `joined` is what the agent was given when it joined, "" where it was given none."""

    __slots__ = ("_alive", "_file", "_joined", "_services", "_turn")

    def __init__(
        self,
        folder: Path,
        given: Mapping[str, str],
        alive: Callable[[], Collection[str]],
        joined: str = "",
    ) -> None:
        """Raises DataDirProblem, ConfigError."""
        self._file = folder / FILE
        kinds, self._services = _read(self._file)
        super().__init__({**kinds, **given})
        self._alive = alive
        self._joined = joined
        self._turn = asyncio.Lock()

    async def set(self, name: str, secret: str) -> bool:
        """Raises EnvironmentProblem."""
        known = await super().set(name, secret)
        if known:
            await self._keep()
        return known

    async def remember(self, service_id: str, secret: str) -> None:
        """Raises EnvironmentProblem."""
        await self._remember({service_id: secret})

    async def remember_defined(self, defined: Sequence[Defined]) -> None:
        """Those of definition files, else the one for all that files define. Raises EnvironmentProblem."""
        others = self.of("config_file_service_registration")
        await self._remember({it.spec.service.id: it.token or others for it in defined})

    async def _remember(self, secrets: Mapping[str, str]) -> None:
        """Written once, where any of them is new."""
        new = {key: secret for key, secret in secrets.items() if self._services.get(key, "") != secret}
        if new:
            self._services.update(new)
            await self._keep()

    def of_service(self, service_id: str) -> str:
        """What to tell servers of it with; a sidecar's is its application's."""
        for each in (service_id, service_id.removesuffix(SUFFIX)):
            if secret := self._services.get(each):
                return secret
        return self.of("default")

    @property
    def own(self) -> str:
        """For what is no service's: the node, and taking things away."""
        return self.of("agent") or self._joined or self.of("default")

    async def _keep(self) -> None:
        async with self._turn:
            alive = set(self._alive())
            services = {key: secret for key, secret in self._services.items() if secret and key in alive}
            self._services = dict(services)
            document = orjson.dumps({"agent": self._secrets, "services": services})
            await asyncio.to_thread(write_private, self._file, document)


def _read(file: Path) -> tuple[dict[str, str], dict[str, str]]:
    if not file.exists():
        return {}, {}
    try:
        found = orjson.loads(read_private(file, "token", FILE_BYTES_MAX))
        return dict(found["agent"]), dict(found["services"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise DataDirProblem(
            f"{file}: cannot be read; delete it, and give tokens and register services again"
        ) from None
