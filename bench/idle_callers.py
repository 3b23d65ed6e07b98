"""Callers that hold connections and say nothing.

A process of its own: `python -m bench.idle_callers --port P --connections N --chain C --key K`. Each
connection is of HTTP/2 over mutual TLS, makes one unary gRPC call, and stays idle. Prints one JSON line when
all have had their answer; ends when stdin ends.
"""

import argparse
import asyncio
import json
import ssl
import sys

import uvloop

from .generator import Caller, Run

_CONNECTING_MAX = 32  # at once: nobody's backlog is what is measured


def _context(chain: str, key: str) -> ssl.SSLContext:
    """Who answers is not checked: it is our own proxy, on loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(chain, key)
    return context


async def hold(port: int, connections: int, chain: str, key: str) -> None:
    """Raises RuntimeError if a call fails, OSError if a connection does."""
    loop, context, room = asyncio.get_running_loop(), _context(chain, key), asyncio.Semaphore(_CONNECTING_MAX)

    async def one() -> None:
        run = Run(1, varying=False)
        async with room:
            await loop.create_connection(
                lambda: Caller(run, "bench", 1), "127.0.0.1", port, ssl=context, server_hostname="bench"
            )
            await run.done

    await asyncio.gather(*(one() for _ in range(connections)))
    print(json.dumps({"connections": connections}), flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.idle_callers")
    for name, kind in (("port", int), ("connections", int), ("chain", str), ("key", str)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        uvloop.run(hold(**vars(_arguments())))
    except (RuntimeError, OSError) as error:
        sys.exit(str(error))
