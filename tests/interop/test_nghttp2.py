"""Another HTTP/2 on both ends: nghttp2's clients and server, with a pair of sidecars between them."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mesh import HOST, Member, Mesh
from tests.support.peers import find
from tests.support.processes import free_port, wait_for_port

pytestmark = [pytest.mark.long, pytest.mark.peer("h2load", "nghttp", "nghttpd")]

DEADLINE_S = 60
LARGE_BYTES = 6 * 1024 * 1024  # many windows of either level
STREAMS_MAX = 3  # of nghttpd: far fewer than callers ask for, so that the sidecar must queue


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "index.html").write_text("hello\n")
    (folder / "large").write_bytes(bytes(range(256)) * (LARGE_BYTES // 256))
    return folder


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Iterator[Member]:
    """A sidecar whose upstreams are `plain` and `narrow`: nghttpd behind sidecars of their own."""
    mesh = Mesh(tmp_path_factory.mktemp("mesh"))
    try:
        servers = [
            server(mesh, files, "plain"),
            server(mesh, files, "narrow", f"--max-concurrent-streams={STREAMS_MAX}", "--header-table-size=0"),
        ]
        client = mesh.add("client", upstreams=["plain", "narrow"], app_port=free_port())
        mesh.registry.intend("client", "*", "allow")
        mesh.wait(*servers, client)
        yield client
    finally:
        ended = mesh.close()
    assert [name for name in ended if "sidecar" in name or "registry" in name] == []  # nghttpd just dies


def server(mesh: Mesh, files: Path, name: str, *flags: str) -> Member:
    port = free_port()
    child = mesh.processes.start(
        name,
        [find("nghttpd") or "", "--no-tls", "--echo-upload", "-a", HOST, "-d", str(files), *flags, str(port)],
    )
    wait_for_port(child, port)
    return mesh.add(name, app_port=port)


def run(program: str, *arguments: str) -> bytes:
    path = find(program)
    assert path
    ran = subprocess.run([path, *arguments], capture_output=True, timeout=DEADLINE_S)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("upstream", ["plain", "narrow"])
def test_many_streams_on_many_connections_all_succeed(caller: Member, upstream: str) -> None:
    said = run("h2load", "-n", "3000", "-c", "10", "-m", "10", f"http://{caller.to(upstream)}/").decode()
    assert re.search(r"\b3000 succeeded, 0 failed, 0 errored", said), said


@pytest.mark.parametrize("window_bits", [10, 16, 30])
def test_a_large_body_comes_whole_through_any_window(caller: Member, files: Path, window_bits: int) -> None:
    got = run("nghttp", "-w", str(window_bits), "-W", str(window_bits), f"http://{caller.to('plain')}/large")
    assert got == (files / "large").read_bytes()


def test_a_large_upload_is_echoed_whole(caller: Member, files: Path) -> None:
    got = run("nghttp", "-d", str(files / "large"), f"http://{caller.to('plain')}/echo")
    assert got == (files / "large").read_bytes()


@pytest.mark.parametrize("table", ["0", "64", "65536"])
def test_header_tables_of_any_size_agree(caller: Member, table: str) -> None:
    said = run(
        "h2load", "-n", "300", "-c", "2", "-m", "5", f"--header-table-size={table}",
        f"--encoder-header-table-size={table}", "-H", "x-long: " + "v" * 300, f"http://{caller.to('plain')}/",
    ).decode()  # fmt: skip
    assert re.search(r"\b300 succeeded, 0 failed, 0 errored", said), said


def test_a_header_block_over_several_frames_goes_through(caller: Member) -> None:
    said = run("nghttp", "-v", "--continuation", f"http://{caller.to('plain')}/").decode(errors="replace")
    sent = re.search(r"send HEADERS frame <length=(\d+)", said)
    assert sent and int(sent[1]) > 16_384, said  # nghttp2 shows HEADERS and CONTINUATION as one
    assert ":status: 200" in said


def test_padding_is_taken_off(caller: Member, files: Path) -> None:
    url = f"http://{caller.to('plain')}/echo"
    assert "PADDED" in run("nghttp", "-v", "-b", "200", "-d", str(files / "index.html"), url).decode()
    assert run("nghttp", "-b", "200", "-d", str(files / "large"), url) == (files / "large").read_bytes()
