"""How a proxy uses its upstreams: what several places say, the narrower over the wider.

    proxy-defaults Config < service-defaults UpstreamConfig.Defaults < its Overrides < the registration

of the proxy's own service; what is said of the upstream that a call was made to holds for all targets that it
leads to, unless something is said of the target's own service.
"""

import dataclasses
from typing import Any, TypeVar

from ..catalog.model import Proxy
from ..catalog.proxy_config import NOTHING, read_upstream
from ..catalog.state import State
from ..config_entries.errors import InvalidEntry
from ..config_entries.schema import read
from ..config_entries.service_defaults import ProxyDefaults, ServiceDefaults, UpstreamConfig

T = TypeVar("T")


class UpstreamSettings:
    """What one proxy was told about its upstreams."""

    def __init__(self, state: State, proxy: Proxy) -> None:
        shared = state.config(ProxyDefaults.KIND, ProxyDefaults.ONLY_NAME)
        own = state.config(ServiceDefaults.KIND, proxy.destination_service)
        said = own.upstreams if isinstance(own, ServiceDefaults) else None
        wide = _of_config(shared.config) if isinstance(shared, ProxyDefaults) else NOTHING
        self._wide = merged(wide, said.defaults if said and said.defaults else NOTHING)
        self._overrides = {it.name: it for it in said.overrides} if said else {}
        self._registered = {it.destination_name: it.config_json for it in proxy.upstreams}

    def of(self, upstream: str, service: str) -> UpstreamConfig:
        """For calls to an upstream that end at instances of this service."""
        found = merged(self._wide, self._about(upstream))
        return found if service == upstream else merged(found, self._about(service))

    def _about(self, service: str) -> UpstreamConfig:
        registered = read_upstream(self._registered.get(service, b""), "Config")
        return merged(self._overrides.get(service, NOTHING), registered)


def merged(wide: T, narrow: T) -> T:
    """Field by field, into nested objects: what the narrower one says, else the wider."""
    if wide is narrow or narrow is NOTHING:
        return wide
    changes: dict[str, Any] = {}
    for it in dataclasses.fields(narrow):  # type: ignore[arg-type]
        said, before = getattr(narrow, it.name), getattr(wide, it.name)
        if dataclasses.is_dataclass(said) and before is not None:
            said = merged(before, said)
        if said != it.default:
            changes[it.name] = said
    return dataclasses.replace(wide, **changes)  # type: ignore[type-var]


def _of_config(config: object) -> UpstreamConfig:
    """Of proxy-defaults: written for proxies of other makes too, so what cannot be read says nothing."""
    try:
        return dataclasses.replace(read(UpstreamConfig, config, "Config", is_lenient=True), protocol="")
    except InvalidEntry:
        return NOTHING
