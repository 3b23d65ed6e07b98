"""The mesh of the demo: every part of it a process of its own on loopback."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weft.files import write_private

from .errors import StepFailed
from .narrator import Narrator
from .ports import HOST, Ports
from .processes import Child, Processes
from .registry import Registry

HTTP_PORT, GRPC_PORT = 8500, 8502
WEB_PORT, WEB_UPSTREAM_PORT = 50050, 51051
ORDERS_PORT = 50051  # of the first instance; the others follow
PUBLIC_PORT, ADMIN_PORT = 21000, 19000  # of the first sidecar; the others follow
START_DEADLINE_S = 30.0
POLL_S = 0.05

EJECTION = {"max_failures": 5, "base_ejection_time": "2s", "max_ejection_percent": 70}
"""As Consul names it. Short, so that the story need not wait long for an instance to return."""


@dataclass
class Instance:
    """One instance of a service: the application, and the sidecar in front of it."""

    id: str
    app_module: str
    app_arguments: Sequence[str]
    app_port: int
    public_port: int
    admin_port: int
    credential: Path
    app: Child
    sidecar: Child | None = None

    @property
    def running_sidecar(self) -> Child:
        if self.sidecar is None:
            raise StepFailed(f"the sidecar of {self.id} was never started")
        return self.sidecar


class Mesh:
    """`folder` takes logs, credentials and the ready file; it must be the demo's alone."""

    def __init__(self, processes: Processes, folder: Path, narrator: Narrator) -> None:
        self._processes = processes
        self._folder = folder
        self._ports = Ports(narrator)
        self.registry: Registry
        self.web: Instance
        self.orders: list[Instance] = []
        self.grpc_address = ""

    async def start_registry(self) -> None:
        ready = self._folder / "ready.json"
        http = self._ports.take(HTTP_PORT, "HTTP API")
        grpc = self._ports.take(GRPC_PORT, "registry gRPC")
        child = self._processes.start_weft(
            "registry", "dev", "--http-port", str(http), "--grpc-port", str(grpc), "--dns-port", "-1",
            "--default-intention", "deny", "--ready-file", str(ready),
        )  # fmt: skip
        await self._wait(ready.exists, "weft dev to be ready", child)
        told = json.loads(ready.read_text())
        self.registry, self.grpc_address = Registry(told["http"]), told["grpc"]

    async def start_services(self, count: int) -> None:
        """Starts `count` instances of orders and one of web, each registered and with its sidecar."""
        for number in range(1, count + 1):
            port = self._ports.take(ORDERS_PORT + number - 1, f"orders-{number}")
            name = f"orders-{number}"
            self.orders.append(self._start_app(name, "examples.orders", port, number, "--name", name))
        upstream = self._ports.take(WEB_UPSTREAM_PORT, "web's way to orders")
        port = self._ports.take(WEB_PORT, "web")
        to_orders = f"{HOST}:{upstream}"
        self.web = self._start_app("web-1", "examples.web", port, 0, "--orders", to_orders)
        for instance in self.orders:
            await self._register(instance, "orders")
            self.start_sidecar(instance)
        await self._register(self.web, "web", upstream_port=upstream)
        self.start_sidecar(self.web)
        for instance in (*self.orders, self.web):
            await self.wait_ready(instance)
        await self.wait_passing({instance.id for instance in self.orders})

    def _start_app(self, name: str, module: str, port: int, number: int, *arguments: str) -> Instance:
        arguments = ("--listen", f"{HOST}:{port}", *arguments)
        return Instance(
            id=name,
            app_module=module,
            app_arguments=arguments,
            app_port=port,
            public_port=self._ports.take(PUBLIC_PORT + number, f"{name}'s sidecar"),
            admin_port=self._ports.take(ADMIN_PORT + number, f"admin of {name}'s sidecar"),
            credential=self._folder / f"{name}.credential.json",
            app=self._processes.start_python(name, module, *arguments),
        )

    async def _register(self, instance: Instance, service: str, upstream_port: int = 0) -> None:
        definition = definition_of(instance, service, upstream_port)
        credential = await asyncio.to_thread(self.registry.register, definition)
        write_private(instance.credential, json.dumps(credential).encode())

    def start_sidecar(self, instance: Instance) -> None:
        instance.sidecar = self._processes.start_weft(
            f"{instance.id}-sidecar", "sidecar", "--credential", str(instance.credential),
            "--admin-address", f"{HOST}:{instance.admin_port}",
        )  # fmt: skip

    def kill(self, instance: Instance) -> None:
        """As when its machine loses power."""
        for child in (instance.running_sidecar, instance.app):
            child.kill()
            self._processes.forget(child)

    def revive(self, instance: Instance) -> None:
        """The same machine again: same ports, same credential."""
        instance.app = self._processes.start_python(instance.id, instance.app_module, *instance.app_arguments)
        self.start_sidecar(instance)

    async def wait_ready(self, instance: Instance) -> None:
        url = f"http://{HOST}:{instance.admin_port}/ready"

        def ready() -> bool:
            try:
                with urllib.request.urlopen(url, timeout=1) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, OSError):
                return False

        await self._wait(ready, f"the sidecar of {instance.id} to be ready", instance.running_sidecar)

    async def wait_passing(self, orders: set[str]) -> None:
        """Until the registry's health checks say that exactly these instances pass."""
        await self._wait(
            lambda: set(self.registry.passing("orders")) == orders,
            f"the health checks to pass for {', '.join(sorted(orders))} only",
        )

    def check_alive(self) -> None:
        """Raises StepFailed when a process ended that nobody asked to."""
        for child in self._processes.died():
            raise StepFailed(f"{child.name} ended with {child.exit_code}; it said:\n{child.said()}")

    async def _wait(self, holds: Callable[[], bool], what: str, child: Child | None = None) -> None:
        end = time.monotonic() + START_DEADLINE_S
        while not await asyncio.to_thread(holds):
            self.check_alive()
            if time.monotonic() > end:
                said = f"; {child.name} said:\n{child.said()}" if child else ""
                raise StepFailed(f"waited {START_DEADLINE_S:g} s for {what}{said}")
            await asyncio.sleep(POLL_S)


def definition_of(instance: Instance, service: str, upstream_port: int = 0) -> dict[str, Any]:
    """The registration of an instance, as any Consul client would write it."""
    sidecar: dict[str, Any] = {"Port": instance.public_port}
    if upstream_port:
        sidecar["Proxy"] = {
            "Upstreams": [
                {
                    "DestinationName": "orders",
                    "LocalBindPort": upstream_port,
                    "Config": {"protocol": "grpc", "passive_health_check": EJECTION},
                }
            ]
        }
    return {
        "ID": instance.id,
        "Name": service,
        "Address": HOST,
        "Port": instance.app_port,
        "Check": {"GRPC": f"{HOST}:{instance.app_port}", "Interval": "1s", "Timeout": "1s"},
        "Connect": {"SidecarService": sidecar},
    }
