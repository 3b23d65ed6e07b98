"""`python -m bench.switch`: CPU per request of bare engines, without registry and shell.

    one    a caller -> plaintext -> the inbound half of an engine -> plaintext -> the backend
    pair   a caller -> engine -> mTLS -> engine -> the backend; both hops are shown

The figures of record come from `python -m bench`, side by side with Envoy; this is the tool for working on
`sidecar/h2` and `sidecar/proxy`: it needs a few seconds. `--profile` prints where an engine spends its time.
"""

import argparse
import asyncio
import cProfile
import gc
import json
import pstats
import random
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from weft.clock import SystemClock
from weft.spiffe import SpiffeId

from . import procfs

_backend = "bench.backend"

TRUST_DOMAIN = "bench.weft"
# Named by what the route of the first hop asks for beyond an instance.
ROUTES = {
    "plain": "nothing",
    "default": "a retry policy, and instances ejected by rates",
    "limits": "as default, with a time-out of 15 s and of an attempt",
    "split": "as default, with two sides, drawn",
    "sticky": "as default, with two sides, by a header; headers set both ways",
    "mirror": "as default, with every request copied to the same instance",
}


def main() -> None:
    """Runs the workloads that were asked for and prints a line for each."""
    parser = argparse.ArgumentParser(prog="python -m bench.switch", description=__doc__)
    parser.add_argument("--requests", type=int, default=60_000)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument(
        "--routes", choices=list(ROUTES), default="plain", help="what the first hop's route asks"
    )
    parser.add_argument("--only", default="", help="a regular expression on the lines' names")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--engine", help=argparse.SUPPRESS)  # a child: JSON of its role
    options = parser.parse_args()
    if options.engine:
        _engine_process(json.loads(options.engine), options.profile, options.loop)
        return
    with tempfile.TemporaryDirectory() as directory:
        _run_all(options, Path(directory))


def _run_all(options: argparse.Namespace, directory: Path) -> None:
    backend = _spawn("-m", _backend)
    backend_port = int(json.loads(_line(backend))["port"])
    flags = [f"--loop={options.loop}"] + (["--profile"] if options.profile else [])
    second = _engine({"role": "inbound", "backend": backend_port, "directory": str(directory)}, flags)
    ports = json.loads(_line(second))
    role = {"role": "outbound", "peer": ports["mesh"], "directory": str(directory), "routes": options.routes}
    first = _engine(role, flags)
    first_ports = json.loads(_line(first))
    try:
        for name, clients, streams in (("10x10", 10, 10), ("50x1", 50, 1), ("1x1", 1, 1)):
            count = options.requests if clients > 1 else options.requests // 6
            for shape, port, engines in (
                ("one", ports["plain"], [second]),
                ("pair", first_ports["plain"], [first, second]),
            ):
                if re.search(options.only, f"{shape} {name}"):
                    _measure(f"{shape} {name}", port, engines, clients, streams, count, directory)
    finally:
        for process in (first, second, backend):
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)


def _measure(
    name: str,
    port: int,
    engines: list["subprocess.Popen[str]"],
    clients: int,
    streams: int,
    count: int,
    directory: Path,
) -> None:
    _h2load(port, clients, streams, max(count // 10, clients * streams), directory)
    before = [procfs.cpu_s(engine.pid) for engine in engines]
    output, latencies = _h2load(port, clients, streams, count, directory)
    used = [procfs.cpu_s(engine.pid) - was for engine, was in zip(engines, before, strict=True)]
    succeeded = re.search(r"(\d+) succeeded", output)
    assert succeeded and int(succeeded[1]) == count, output
    per_request = " + ".join(f"{seconds / count * 1e6:5.1f}" for seconds in used)
    rss = " + ".join(f"{procfs.rss_mb(engine.pid):.0f}" for engine in engines)
    middle, high = latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
    print(
        f"{name:11}{per_request:>15} µs CPU/request   "
        f"p50 {middle:6.0f} µs   p99 {high:6.0f} µs   RSS {rss} MB"
    )


def _h2load(port: int, clients: int, streams: int, count: int, directory: Path) -> tuple[str, list[int]]:
    body, log = directory / "body", directory / "log"
    body.write_bytes(b"\x00" + (100).to_bytes(4, "big") + b"q" * 100)
    log.unlink(missing_ok=True)
    command = [
        "h2load", "-n", str(count), "-c", str(clients), "-m", str(streams), "-d", str(body),
        "--log-file", str(log), "-H", "te: trailers", "-H", "content-type: application/grpc",
        f"http://127.0.0.1:{port}/weft.bench.v1.Echo/Unary",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout, sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())


def _spawn(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _engine(role: dict[str, object], flags: list[str]) -> "subprocess.Popen[str]":
    return _spawn("-m", "bench.switch", "--engine", json.dumps(role), *flags)


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


# --- in the child ------------------------------------------------------------------------------------


def _engine_process(role: dict[str, object], profile: bool, loop: str) -> None:
    import uvloop

    profiler = cProfile.Profile()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        runner.run(_serve(role, profiler if profile else None))
    if profile:
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(25)


async def _serve(role: dict[str, object], profiler: cProfile.Profile | None) -> None:
    from sidecar.proxy.engine import Engine
    from sidecar.proxy.outbound import Outbound
    from sidecar.snapshot import Address, EjectionPolicy, Inbound, Instance, Rule, Snapshot, Target, Upstream
    from sidecar.telemetry import Telemetry

    directory = Path(str(role["directory"]))
    service = "orders" if role["role"] == "inbound" else "web"
    tls, root = _identity(directory, service)
    own = SpiffeId(TRUST_DOMAIN, "dc1", service)
    loopback = Address("127.0.0.1", 0)
    upstreams, targets = {}, {}
    if role["role"] == "outbound":
        peer = Address("127.0.0.1", int(str(role["peer"])))
        orders = SpiffeId(TRUST_DOMAIN, "dc1", "orders")
        instance = Instance("dc1/n/orders-1", "orders-1", peer)
        kind = str(role["routes"])
        ejection = EjectionPolicy() if kind == "plain" else EjectionPolicy(interval_s=1.0, failure_percent=50)
        for name in ("orders.default.default.dc1", "v2.orders.default.default.dc1"):
            targets[name] = Target(name, "orders", orders, "", (instance,), ejection=ejection)
        upstreams["orders"] = Upstream(
            "orders", loopback, (_route(kind, list(targets)),), next(iter(targets))
        )
    snapshot = Snapshot(
        index=1,
        identity=own,
        instance_key="dc1/n/x",
        inbound=Inbound(
            loopback,
            Address("127.0.0.1", int(str(role.get("backend", 1)))),
            (Rule("r", "web", TRUST_DOMAIN, "", True),),
        ),
        upstreams=upstreams,
        targets=targets,
        bundles={TRUST_DOMAIN: (root,)},
    )
    telemetry = Telemetry()
    engine = Engine(
        snapshot=snapshot, tls=tls, telemetry=telemetry, clock=SystemClock(), rng=random.Random(1)
    )
    await engine.start()
    ports = {"mesh": int(engine.listening()[""].rpartition(":")[2])}
    if role["role"] == "outbound":
        ports["plain"] = int(engine.listening()["orders"].rpartition(":")[2])
    else:  # the application pool without TLS in front: the switch alone
        side = Outbound(engine.outbox, engine.app, telemetry, "bench")
        server = await asyncio.get_running_loop().create_server(side.accept, "127.0.0.1", 0)
        ports["plain"] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    if profiler:
        profiler.enable()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()
    if profiler:
        profiler.disable()
    await engine.close()


def _route(kind: str, targets: list[str]):  # type: ignore[no-untyped-def]
    """What ROUTES says of `kind`."""
    from sidecar.traffic import (
        HashInput,
        HashKind,
        HeaderEdits,
        Mirror,
        RetryOn,
        RetryPolicy,
        Route,
        Split,
    )  # fmt: skip

    first, second = targets
    whole, halves = (Split(10_000, first),), (Split(5_000, first), Split(5_000, second))
    edits = HeaderEdits(set=(("x-side", "a"),))
    retry = RetryPolicy(3, frozenset((RetryOn.UNAVAILABLE, RetryOn.CONNECT_FAILURE, RetryOn.RESET)))
    user = (HashInput(HashKind.HEADER, "user-agent"),)
    return {
        "plain": Route("r", whole),
        "default": Route("r", whole, retry=retry),
        "limits": Route("r", whole, retry=replace(retry, per_try_s=5.0), timeout_s=15.0),
        "split": Route("r", halves, retry=retry),
        "sticky": Route("r", halves, retry=retry, sticky=user, request_headers=edits, response_headers=edits),
        "mirror": Route("r", whole, retry=retry, mirrors=(Mirror(second, 1_000_000),)),
    }[kind]


def _identity(directory: Path, service: str):  # type: ignore[no-untyped-def]
    """Our certificate under a root that the first process of the directory makes."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from ca.authority import issue_leaf_for_key, new_root
    from sidecar.identity import Svid, tls_contexts

    now = datetime.now(UTC)
    root_file, key_file = directory / "root.der", directory / "root.key"
    if not root_file.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        root_file.write_bytes(
            new_root(TRUST_DOMAIN, key, serial=1, now=now).public_bytes(serialization.Encoding.DER)
        )
        key_file.write_bytes(_pem(key))
    root = x509.load_der_x509_certificate(root_file.read_bytes())
    root_key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    own = SpiffeId(TRUST_DOMAIN, "dc1", service)
    issued = issue_leaf_for_key(root, root_key, key.public_key(), own, 7, now, timedelta(hours=1))  # type: ignore[arg-type]
    svid = Svid(_pem(key), (issued.leaf_der,), own, issued.not_after.timestamp(), 0.0)
    root_der = root_file.read_bytes()
    return tls_contexts(svid, {TRUST_DOMAIN: (root_der,)}, frozenset(), SystemClock()), root_der


def _pem(key) -> bytes:  # type: ignore[no-untyped-def]
    from ca.provider import private_pem

    return private_pem(key)


if __name__ == "__main__":
    main()
