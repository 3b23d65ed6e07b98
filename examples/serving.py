"""What both example services share: a gRPC server with health, ended by a signal."""

import asyncio
import signal
from collections.abc import Callable, Sequence

import grpc
from grpc_health.v1 import health, health_pb2_grpc

STOP_GRACE_S = 2.0


async def serve(
    listen: str,
    add_services: Callable[[grpc.aio.Server], None],
    options: Sequence[tuple[str, int]] = (),
) -> None:
    """Serves on `listen` ("host:port") until SIGINT or SIGTERM; answers grpc.health.v1 too."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    # Without this a second process on the same port would silently share its calls.
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *options])
    checks = health.aio.HealthServicer()  # type: ignore[attr-defined] # the stubs lack it
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    add_services(server)
    port = server.add_insecure_port(listen)
    await server.start()
    print(f"serving on port {port}", flush=True)
    await stopping.wait()
    await checks.enter_graceful_shutdown()
    await server.stop(STOP_GRACE_S)
