"""What is measured: a chain of two proxies between the callers and the backend."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .pki import Leaf
from .processes import Child


@dataclass(frozen=True, slots=True)
class Pair:
    """Plaintext to `first`, HTTP/2 over mTLS from there to `second`, plaintext to the backend."""

    port: int  # where the callers connect
    first: Child
    second: Child
    peer_port: int  # where `second` takes mTLS from the caller
    caller: Leaf  # what the caller proves itself with there


# (stack that ends the processes, directory for logs and files, port of the backend, whether callers and
# backend speak HTTP/1.1 instead of gRPC)
Start = Callable[[ExitStack, Path, int, bool], Pair]
