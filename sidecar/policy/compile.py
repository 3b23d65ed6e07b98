"""Sans-IO. The registry's resources become the frozen snapshot that the switch reads."""

from collections.abc import Mapping

from weft.pb.mesh.v1 import mesh_pb2

from ..errors import InvalidResource
from ..snapshot import Snapshot


def compile_snapshot(resources: Mapping[str, mesh_pb2.Resource], index: int) -> Snapshot:
    """Builds what the proxy must do from all its resources. Raises InvalidResource naming the first
    one that cannot be obeyed; nothing is skipped."""
    raise InvalidResource("proxy", "is missing")
