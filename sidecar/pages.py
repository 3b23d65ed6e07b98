"""What the admin port shows."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any

from .admin import Page, json_page
from .exposition import CONTENT_TYPE, Exposition
from .serving import Serving, status_of
from .snapshot import Snapshot, Target, Upstream
from .telemetry import Telemetry


class Pages:
    """`/ready`, `/metrics` and `/config` of one sidecar. `draining` is set when it stops."""

    def __init__(self, instance_key: str, serving: Serving, telemetry: Telemetry) -> None:
        self._instance_key = instance_key
        self._serving = serving
        self._telemetry = telemetry
        self._exposition = Exposition(telemetry)
        self.draining = False

    def ready(self) -> Page:
        """200 while calls are served, also without a registry; otherwise 503 and what is missing, or what
        ails the application."""
        missing = self._missing()
        status = HTTPStatus.SERVICE_UNAVAILABLE if missing else HTTPStatus.OK
        return json_page({"ready": not missing, "reason": missing, "instance": self._instance_key}, status)

    async def metrics(self) -> Page:
        if self._serving.switch is not None:
            await self._serving.switch.refresh()
        return Page(HTTPStatus.OK, CONTENT_TYPE, self._exposition.render())

    async def config(self) -> Page:
        serving = self._serving
        return json_page(
            {
                "instance": self._instance_key,
                "registry_connected": self._telemetry.registry_connected,
                "version": self._telemetry.config_version,
                "certificate": _certificate(serving),
                "snapshot": _snapshot(serving.snapshot) if serving.snapshot else None,
                "switch": await status_of(serving.switch) if serving.switch else None,
            }
        )

    def _missing(self) -> str:
        if self.draining:
            return "draining"
        if not self._serving.started.is_set():
            return "waiting for the registry" if self._serving.svid is None else "waiting for configuration"
        if not self._serving.certificate_valid():
            return "certificate expired"
        return self._serving.switch.trouble() if self._serving.switch is not None else ""


def _certificate(serving: Serving) -> dict[str, Any] | None:
    svid = serving.svid
    if svid is None:
        return None
    return {"spiffe_id": svid.identity.uri, "not_after": svid.not_after, "renew_at": svid.renew_at}


def _snapshot(snapshot: Snapshot) -> dict[str, Any]:
    inbound = snapshot.inbound
    return {
        "index": snapshot.index,
        "identity": snapshot.identity.uri,
        "inbound": {
            "listen": str(inbound.listen),
            "app": str(inbound.app),
            "default_allow": inbound.default_allow,
            "rules": [asdict(rule) for rule in inbound.rules],
        },
        "upstreams": {name: _upstream(upstream) for name, upstream in snapshot.upstreams.items()},
        "targets": {name: _target(target) for name, target in snapshot.targets.items()},
        "bundles": {
            domain: [hashlib.sha256(root).hexdigest() for root in roots]
            for domain, roots in snapshot.bundles.items()
        },
        "revoked": sorted(f"{domain} {serial:x}" for domain, serial in snapshot.revoked),
    }


def _upstream(upstream: Upstream) -> dict[str, Any]:
    return {
        "listen": str(upstream.listen),
        "protocol": upstream.protocol.value,
        "default_target": upstream.default_target,
        "routes": [_shown(route) for route in upstream.routes],
    }


def _target(target: Target) -> dict[str, Any]:
    shown: dict[str, Any] = _shown(target)
    instances = [_shown(instance) | {"address": str(instance.address)} for instance in target.instances]
    return shown | {"spiffe_id": target.spiffe_id.uri, "instances": instances}


def _shown(value: Any) -> Any:
    """Frozen configuration as JSON has it."""
    if is_dataclass(value):
        return {field.name: _shown(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _shown(item) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset | set):
        return [_shown(item) for item in value]
    return value
