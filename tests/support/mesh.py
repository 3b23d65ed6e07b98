"""A running mesh for tests: one `weft dev`, applications, sidecars, all processes on free ports."""

import asyncio
import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from prometheus_client.parser import text_string_to_metric_families

from examples.demo.processes import Child, Processes
from examples.demo.registry import Registry
from tests.support.processes import START_DEADLINE_S, free_port, wait_for_port
from weft.credential import Credential
from weft.pb.registration.v1 import registration_pb2, registration_pb2_grpc

HOST = "127.0.0.1"


@dataclass
class Member:
    """One service instance: its application (None: nobody, or something of the test's own) and sidecar."""

    id: str
    service: str
    app_port: int
    public_port: int
    admin_port: int
    credential_path: Path
    upstreams: dict[str, int] = field(default_factory=dict)  # destination -> local port
    app: Child | None = None
    sidecar: Child | None = None

    @property
    def credential(self) -> Credential:
        return Credential.from_json(self.credential_path.read_bytes())

    @property
    def running(self) -> Child:
        assert self.sidecar is not None
        return self.sidecar

    def to(self, destination: str) -> str:
        """Where the application reaches `destination`."""
        return f"{HOST}:{self.upstreams[destination]}"

    def admin(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{HOST}:{self.admin_port}{path}", timeout=5) as answer:
            body: bytes = answer.read()
            return body

    def metric(self, name: str) -> float:
        """The sum of a metric over all its labels; 0 when it is not there."""
        families = text_string_to_metric_families(self.admin("/metrics").decode())
        return sum(sample.value for family in families for sample in family.samples if sample.name == name)

    def is_ready(self) -> bool:
        try:
            self.admin("/ready")
        except (urllib.error.URLError, OSError):
            return False
        return True


class Mesh:
    """`flags` go to `weft dev`. Everything started ends with `close`."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder = folder
        self.processes = Processes(folder)
        self._ready = folder / "ready.json"
        self._flags = ("--default-intention", "deny", *flags)
        self.registry_ports = (free_port(), free_port())
        self.start_registry()

    def start_registry(self) -> None:
        """Also starts it again, on the same ports."""
        self._ready.unlink(missing_ok=True)
        http, grpc_port = (str(port) for port in self.registry_ports)
        self.dev = self.processes.start_weft(
            "registry", "dev", "--http-port", http, "--grpc-port", grpc_port,
            "--ready-file", str(self._ready), *self._flags,
        )  # fmt: skip
        wait_for(self._ready.exists, "weft dev is ready", self.dev)
        told = json.loads(self._ready.read_text())
        self.registry, self.grpc_address = Registry(told["http"]), told["grpc"]

    def app(self, name: str, port: int = 0) -> tuple[Child, int]:
        """A matrix application that calls itself `name`."""
        port = port or free_port()
        child = self.processes.start_python(
            name, "tests.support.matrix_app", "--listen", f"{HOST}:{port}", "--name", name
        )
        return child, port

    def add(
        self,
        service: str,
        number: int = 1,
        *,
        upstreams: Sequence[str] = (),
        upstream_config: dict[str, Any] | None = None,
        app_port: int | None = None,
        check: dict[str, Any] | None = None,
        sidecar: bool = True,
    ) -> Member:
        """Registers instance `<service>-<number>` and starts its parts.

        `app_port`: where an application listens or will; None starts a matrix application.
        """
        member = self.member(service, number, upstreams, app_port or free_port())
        if app_port is None:
            member.app, _ = self.app(member.id, member.app_port)
            wait_for_port(member.app, member.app_port)
        self.register(member, upstream_config, check)
        if sidecar:
            self.start_sidecar(member)
        return member

    def member(
        self, service: str, number: int = 1, upstreams: Sequence[str] = (), app_port: int = 0
    ) -> Member:
        """An instance with ports of its own, of which nothing is registered or running yet."""
        name = f"{service}-{number}"
        return Member(
            id=name,
            service=service,
            app_port=app_port,
            public_port=free_port(),
            admin_port=free_port(),
            credential_path=self.folder / f"{name}.credential",
            upstreams={destination: free_port() for destination in upstreams},
        )

    def register(
        self,
        member: Member,
        upstream_config: dict[str, Any] | None = None,
        check: dict[str, Any] | None = None,
    ) -> None:
        """Registers the instance and keeps the credential that this mints."""
        self.enrol(member, _proxy(member, upstream_config), **({"Check": check} if check else {}))

    def register_again(self, member: Member) -> None:
        """As any Consul client does, without asking for a credential."""
        self.registry.update(self._definition(member, _proxy(member)))

    def enrol(self, member: Member, proxy: dict[str, Any], **extra: Any) -> None:
        """Registers with this `Proxy` object and further fields."""
        credential = self.registry.register(self._definition(member, proxy) | extra)
        Credential.from_json(json.dumps(credential)).write(member.credential_path)

    def _definition(self, member: Member, proxy: dict[str, Any]) -> dict[str, Any]:
        return {
            "ID": member.id,
            "Name": member.service,
            "Address": HOST,
            "Port": member.app_port,
            "Connect": {"SidecarService": {"Port": member.public_port, "Proxy": proxy}},
        }

    def start_sidecar(self, member: Member, *flags: str) -> None:
        member.sidecar = self.processes.start_weft(
            f"{member.id}-sidecar", "sidecar", "--credential", str(member.credential_path),
            "--admin-address", f"{HOST}:{member.admin_port}", *flags,
        )  # fmt: skip

    def wait(self, *members: Member) -> None:
        """Until the sidecars serve, the catalog says so, and those of `members` that call have heard."""
        for member in members:
            wait_for(member.is_ready, f"the sidecar of {member.id} is ready", member.sidecar)
        for member in members:
            wait_for(self._passes(member), f"{member.id} is healthy", self.dev)
        for caller in members:
            for destination in caller.upstreams:
                awaited = {
                    f"{HOST}:{member.public_port}" for member in members if member.service == destination
                }
                wait_for(knows(caller, awaited), f"{caller.id} knows {awaited}", caller.sidecar)

    def _passes(self, member: Member) -> Callable[[], bool]:
        proxy = f"{member.service}-sidecar-proxy"
        return lambda: f"{member.id}-sidecar-proxy" in self.registry.passing(proxy)

    def kill(self, *children: Child | None) -> tuple[float, float]:
        """Ends the processes as a crash would; between which monotonic seconds that happened."""
        begin = time.monotonic()
        for child in children:
            assert child is not None
            child.kill()
            self.processes.forget(child)
        return begin, time.monotonic()

    async def revoke(self, member: Member) -> None:
        """Withdraws the credential and the live certificates of the instance."""
        request = registration_pb2.RevokeCredentialRequest(service_id=member.id)
        async with self.registry_channel() as channel:
            await registration_pb2_grpc.RegistrationStub(channel).RevokeCredential(request, timeout=10)

    @property
    def trust_domain(self) -> str:
        return self._any_credential().trust_domain

    def _any_credential(self) -> Credential:
        return Credential.from_json(next(self.folder.glob("*.credential")).read_bytes())

    @property
    def registry_trust(self) -> grpc.ChannelCredentials:
        """The root that credentials pin, and no other."""
        root = self._any_credential().registry_ca_pem.encode()
        return grpc.ssl_channel_credentials(root_certificates=root)

    @contextlib.asynccontextmanager
    async def registry_channel(self) -> Any:
        """A gRPC channel to the registry, which must prove itself by the root that credentials pin."""
        async with grpc.aio.secure_channel(self.grpc_address, self.registry_trust) as channel:
            yield channel

    def close(self) -> list[str]:
        """Ends everything; answers who did not end well."""
        return self.processes.stop()


def _proxy(member: Member, upstream_config: dict[str, Any] | None = None) -> dict[str, Any]:
    config = {"protocol": "grpc", **(upstream_config or {})}
    return {
        "Upstreams": [
            {"DestinationName": destination, "LocalBindPort": port, "Config": config}
            for destination, port in member.upstreams.items()
        ]
    }


def knows(caller: Member, addresses: set[str]) -> Callable[[], bool]:
    """Whether the caller's sidecar has the instances at these addresses, and as healthy."""

    def holds() -> bool:
        targets = json.loads(caller.admin("/config"))["snapshot"]["targets"].values()
        healthy = {
            instance["address"]
            for target in targets
            for instance in target["instances"]
            if instance["healthy"]
        }
        return addresses <= healthy

    return holds


def wait_for(holds: Callable[[], Any], what: str, child: Child | None = None) -> None:
    """As `until`, for fixtures, outside of an event loop."""
    end = time.monotonic() + START_DEADLINE_S
    while not holds():
        said = f"\n{child.name} said:\n{child.said()}" if child else ""
        assert child is None or child.exit_code is None, f"{what}: it ended with {child.exit_code}{said}"
        assert time.monotonic() < end, f"not within {START_DEADLINE_S:g} s: {what}{said}"
        time.sleep(0.02)


async def in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    """Blocking calls (the registry's HTTP API) off the loop, which has gRPC calls to serve."""
    return await asyncio.to_thread(work, *arguments)
