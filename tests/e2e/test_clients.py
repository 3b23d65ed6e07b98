"""Other people's HTTP/2 clients through a real pair of sidecars."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Pair
from tests.support.peers import find

# A gRPC message of no bytes: not compressed, length 0 (gRPC's PROTOCOL-HTTP2).
EMPTY = bytes(5)
GRPC_JS = "@grpc/grpc-js@1.14.7"
NAME = "/matrix.v1.Matrix/Name"


def ask(program: str, *arguments: str) -> bytes:
    done = subprocess.run([find(program) or program, *arguments], capture_output=True, timeout=30, check=True)
    return done.stdout + done.stderr


@pytest.mark.peer("curl")
def test_curl_with_prior_knowledge(pair: Pair, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(EMPTY)
    heard = ask(
        "curl", "--silent", "--include", "--http2-prior-knowledge", "--data-binary", f"@{body}",
        "--header", "content-type: application/grpc", "--header", "te: trailers", f"http://{pair.target}{NAME}",
    )  # fmt: skip
    assert heard.startswith(b"HTTP/2 200") and pair.server.id.encode() in heard
    assert b"grpc-status: 0" in heard


@pytest.mark.peer("nghttp")
def test_nghttp(pair: Pair, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(EMPTY)
    heard = ask(
        "nghttp", "--verbose", "--data", str(body), "--header", "content-type: application/grpc",
        "--header", "te: trailers", f"http://{pair.target}{NAME}",
    )  # fmt: skip
    assert b":status: 200" in heard and pair.server.id.encode() in heard and b"grpc-status: 0" in heard


@pytest.mark.long
@pytest.mark.peer("node", "npm")
def test_grpc_js_of_node(pair: Pair, tmp_path: Path) -> None:
    """Unary calls at once, a status, a deadline. The package is fetched into a folder of the test's own."""
    install = ["npm", "install", "--prefix", str(tmp_path), "--no-audit", "--no-fund", "--silent", GRPC_JS]
    if subprocess.run(install, timeout=120).returncode:
        problem = f"npm cannot install {GRPC_JS}"
        pytest.fail(problem) if os.environ.get("WEFT_REQUIRE_PEERS") == "1" else pytest.skip(problem)
    script = tmp_path / "grpc_js.js"
    script.write_text((Path(__file__).parent / "grpc_js.js").read_text())
    heard = json.loads(ask("node", str(script), pair.target, NAME, "100"))
    assert heard["calls"] == [{"code": 0, "answer": pair.server.id}] * 100
    assert heard["unknown"] == {"code": 12} and heard["late"] == {"code": 4}
