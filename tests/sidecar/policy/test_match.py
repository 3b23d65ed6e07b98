"""sidecar.policy.match: what rules say, as it stands in requests."""

import pytest

from sidecar.policy.match import http_match
from weft.pb.mesh.v1 import mesh_pb2


@pytest.mark.parametrize("kind", ["path_exact", "path_prefix"])
def test_a_rule_names_what_is_not_ascii_by_its_escapes(kind: str) -> None:
    """That is how it stands in a request, once its path has its one spelling (RFC 3986 section 2.1)."""
    said = mesh_pb2.HttpMatch()
    setattr(said, kind, "/café%20")
    assert http_match("rule", said).path == "/caf%C3%A9%20"
