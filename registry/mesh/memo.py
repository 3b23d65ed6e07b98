"""Resources that many proxies share, made once for each content of the tables that they are made of.

A mesh-wide change reaches every proxy at once. What it makes them hear is the same for all (bundles,
revocations) or for all of a service (intentions, endpoints), so it is compiled, hashed and encoded once.
Tables are immutable: the same table is the same content, and identity of all inputs is the whole key.
"""

from collections.abc import Callable

from weft.pb.mesh.v1 import mesh_pb2 as pb

RESOURCES_MAX = 262_144  # then all are forgotten. Subscriptions hold them anyway: an entry adds 300 bytes

_Inputs = tuple[object, ...]


class Memo:
    """Resource name and subject -> the resource, and what it was made of."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], tuple[_Inputs, pb.Resource]] = {}

    def get(self, name: str, of: str, inputs: _Inputs, make: Callable[[], pb.Resource]) -> pb.Resource:
        """What `make` gives for these inputs, which are all that it reads. `of` tells apart resources of
        one name. Whoever gets a resource must not change it."""
        known = self._made.get((name, of))
        if known is not None and all(a is b for a, b in zip(known[0], inputs, strict=True)):
            return known[1]
        if len(self._made) >= RESOURCES_MAX:
            self._made.clear()
        made = make()
        self._made[name, of] = (inputs, made)
        return made
