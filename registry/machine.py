"""This machine as a node: what both composition roots ask of it."""

import socket

LOOPBACK = "127.0.0.1"


def machine_name() -> str:
    """The host name with what a node name may not hold replaced."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in socket.gethostname())
    return kept.strip("-")[:64] or "node"


def join(host: str, port: int) -> str:
    """`host:port`, or `[v6]:port`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def port_free(port: int) -> bool:
    """Whether nothing on this machine listens on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
