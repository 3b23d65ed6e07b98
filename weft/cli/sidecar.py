"""`weft sidecar`: the data path of one service instance."""

import os
import sys
from pathlib import Path

import click

EPILOG = """
\b
A first sidecar, next to a service `web` on port 8080 that calls `orders`:
  weft dev &
  echo '{"Name": "web", "Port": 8080, "Connect": {"SidecarService": {"Proxy": {
    "Upstreams": [{"DestinationName": "orders", "LocalBindPort": 9191}]}}}}' > web.json
  weft services register --credential web.credential web.json
  weft sidecar --credential web.credential

`web` now calls orders at 127.0.0.1:9191, and others call it through the sidecar's public port. Each
option is also read from the environment: WEFT_CREDENTIAL, WEFT_REGISTRY, and so on.
"""


@click.command(epilog=EPILOG, context_settings={"auto_envvar_prefix": "WEFT"})
@click.option(
    "--credential",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="What the registration answered, mode 0600. It says which service instance this is.",
)
@click.option(
    "--registry",
    multiple=True,
    metavar="HOST:PORT",
    help="The registry's gRPC address, instead of those in the credential. May be given more than once.",
)
@click.option(
    "--admin-address",
    default="127.0.0.1:0",
    show_default=True,
    metavar="HOST:PORT",
    help="Where /ready, /metrics and /config are served; loopback only. Port 0 takes a free one and logs it.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep the last configuration, certificate and key here (mode 0600), to start while the registry "
    "is down. Without it nothing is written to disk.",
)
@click.option(
    "--takeover",
    is_flag=True,
    help="Replace the sidecar that serves with the same --state-dir, if there is one: take its listening "
    "sockets, and let it drain once this one serves. SIGUSR2 to a running sidecar starts its successor so.",
)
@click.option(
    "--workers",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Processes that carry calls, one for each processor that they may keep busy. Rate limits and "
    "circuit breakers are divided among them.",
)
@click.option(
    "--drain-timeout",
    type=float,
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long streams may finish after SIGTERM. A second signal ends them at once.",
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help='Written once calls are served: {"admin": "HOST:PORT"}. For scripts.',
)
@click.option(
    "--log-level",
    type=click.Choice(("debug", "info", "warning", "error")),
    default="info",
    show_default=True,
)
@click.option(
    "--log-format",
    type=click.Choice(("auto", "text", "json")),
    default="auto",
    show_default=True,
    help="auto: text on a terminal, JSON lines otherwise.",
)
def command(
    credential: Path,
    registry: tuple[str, ...],
    admin_address: str,
    state_dir: Path | None,
    takeover: bool,
    workers: int,
    drain_timeout: float,
    ready_file: Path | None,
    log_level: str,
    log_format: str,
) -> None:
    """Run the sidecar of one service instance.

    It signs in with the instance's credential, gets a certificate and its configuration from the
    registry, and carries the instance's calls: mTLS to and from the other sidecars, intentions,
    balancing, ejection and retries. When the registry is gone it keeps serving what it knows. SIGTERM
    finishes open streams and exits 0.
    """
    from sidecar.config import SidecarConfig, parse_admin_address, parse_registry

    admin_host, admin_port = parse_admin_address(admin_address)
    config = SidecarConfig(
        credential=credential,
        registry=tuple(parse_registry(address) for address in registry),
        admin_host=admin_host,
        admin_port=admin_port,
        state_dir=state_dir,
        takeover=takeover,
        workers=workers,
        log_level=log_level,
        log_format=log_format,
        ready_file=ready_file,
        drain_timeout_s=drain_timeout,
    )
    _slim()
    from sidecar import app

    from .. import logs

    logs.configure(log_level, style=log_format)
    app.run(config)


def _slim() -> None:
    """Must run before the first import of structlog and grpc."""
    # structlog imports rich for tracebacks that we never print: 5 MB in every sidecar.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None is how Python says "not here"
    # gRPC's C core writes failed connections to stderr on its own; we log them.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
