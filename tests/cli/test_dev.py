"""`weft dev` as a process: durability, credentials across restarts, and every way to start it wrongly."""

import json
import signal
import socket
import stat
import subprocess
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.dev import WEFT, Dev, running_dev
from tests.support.processes import free_port
from weft.cli import run
from weft.credential import METADATA_KEY
from weft.pb.mesh.v1 import mesh_pb2, mesh_pb2_grpc

WEB = {"Name": "web", "Port": 8080, "Check": {"TTL": "1h"}, "Connect": {"SidecarService": {}}}
TIMEOUT_S = 30


def refused(*flags: str) -> tuple[int, str]:
    """Exit code and the one line of a start that must fail."""
    command = [*WEFT, "dev", "--http-port", "0", "--grpc-port", "0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    lines = done.stderr.strip().splitlines()
    assert done.returncode != 0
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("weft: ")
    return done.returncode, lines[0]


def sign(dev: Dev, credential: dict[str, str]) -> mesh_pb2.SignCertificateResponse:
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    pinned = grpc.ssl_channel_credentials(credential["RegistryCAPEM"].encode())
    with grpc.secure_channel(dev.grpc, pinned) as channel:
        return mesh_pb2_grpc.MeshStub(channel).SignCertificate(
            mesh_pb2.SignCertificateRequest(csr_der=csr.public_bytes(serialization.Encoding.DER)),
            metadata=((METADATA_KEY, f"{credential['InstanceKey']} {credential['Secret']}"),),
            timeout=TIMEOUT_S,
        )


def test_a_restart_brings_back_services_checks_intentions_and_the_same_ca(tmp_path: Path) -> None:
    data, port = tmp_path / "data", str(free_port())
    with running_dev("--grpc-port", port, data_dir=data) as dev:
        credential = dev.register(WEB)
        dev.ok("PUT", "/v1/agent/check/pass/service:web?note=well")
        dev.intention("a", "web", "deny")
        roots = dev.ok("GET", "/v1/connect/ca/roots")
        before = dev.ok("GET", "/v1/health/service/web")
        services = dev.ok("GET", "/v1/agent/services")
        dev.process.send_signal(signal.SIGKILL)  # nothing that was answered may be lost
        dev.process.wait()
        told = dev
    with running_dev("--grpc-port", port, data_dir=data) as dev:
        assert dev.registry_ca_pem == told.registry_ca_pem
        assert dev.ok("GET", "/v1/connect/ca/roots") == roots
        assert dev.ok("GET", "/v1/health/service/web") == before
        assert dev.ok("GET", "/v1/agent/services") == services
        assert dev.ok("GET", "/v1/connect/intentions/check?source=a&destination=web") == {"Allowed": False}
        assert dev.grpc in credential["RegistryAddresses"]
        leaf = x509.load_der_x509_certificate(sign(dev, credential).chain_der[0])
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(roots["Roots"][0]["RootCert"].encode()))
        dev.ok("PUT", "/v1/agent/check/fail/service:web")
        assert dev.passing("web") == []


def test_trap_2_keys_lie_in_the_data_directory_for_their_owner_only(tmp_path: Path) -> None:
    with running_dev(data_dir=tmp_path / "data"):
        files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
        assert {"operator.key", "server.key", "server-root.pem"} <= {path.name for path in files}
        for path in files:
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077 or path.name == "FORMAT", path


def test_trap_1_it_listens_on_loopback_only() -> None:
    with running_dev() as dev:
        ports = {int(it.split(":")[1]) for it in (dev.http, dev.grpc, dev.dns)}
        listening = [
            line.split()
            for table in ("tcp", "tcp6", "udp", "udp6")
            for line in (Path("/proc/net") / table).read_text().splitlines()[1:]
            if line.split()[3] == ("0A" if table.startswith("tcp") else "07")
        ]
        found = {line[1].split(":")[0] for line in listening if int(line[1].split(":")[1], 16) in ports}
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}  # as IPv4, and mapped into IPv6
    assert found
    assert found <= loopback


def test_the_default_intention_decides_where_none_matches() -> None:
    with running_dev("--default-intention", "deny") as dev:
        path = "/v1/connect/intentions/check?source=a&destination=b"
        assert dev.ok("GET", path) == {"Allowed": False}
        dev.intention("a", "b", "allow")
        assert dev.ok("GET", path) == {"Allowed": True}


def test_sigint_exits_0_and_the_ready_line_names_the_addresses(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    command = [*WEFT, "dev", "--http-port", "0", "--grpc-port", "0", "--ready-file", str(ready)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0
    told = json.loads(ready.read_text())
    assert told["http"] in line
    assert told["grpc"] in line
    assert told["dns"] in line


@pytest.mark.parametrize("flag", ["--http-port", "--grpc-port", "--dns-port"])
def test_a_taken_port_is_one_line_that_names_the_flag(flag: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, line = refused(flag, port)
    assert code == 1
    assert port in line
    assert flag in line


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--no-such-flag",), "--no-such-flag"),
        (("--http-port", "99999"), "--http-port"),
        (("--leaf-ttl", "soon"), "--leaf-ttl"),
        (("--dns-port", "-2"), "--dns-port"),
        (("--dns-recursor", "example.com"), "--dns-recursor"),
        (("--dns-recursor", "10.0.0.1:0"), "--dns-recursor"),
        (("--dns-recursor", "10.0.0.1:1", "--dns-recursor", "[::1]:x"), "--dns-recursor"),
        (("--dns-port", "5353", "--dns-recursor", "127.0.0.1:5353"), "--dns-recursor"),
        (("--dns-node-ttl", "1500ms"), "--dns-node-ttl"),
        (("--dns-service-ttl", "-1s"), "--dns-service-ttl"),
        (("--dns-token-file", "/no/such/file"), "/no/such/file"),
        (("--leaf-ttl", "1s"), "--leaf-ttl"),
        (("--leaf-ttl", "99999h"), "--leaf-ttl"),
        (("--default-intention", "maybe"), "--default-intention"),
        (("--datacenter", "a b"), "--datacenter"),
        (("--node-name", "../x"), "--node-name"),
    ],
)
def test_a_bad_flag_is_one_line_that_names_it(
    flags: tuple[str, ...], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dev", "--http-port", "0", "--grpc-port", "0", *flags]) == 2
    told = capsys.readouterr().err.strip()
    assert word in told
    assert len(told.splitlines()) == 1


def test_a_ready_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    assert "cannot write" in refused("--ready-file", str(tmp_path / "no" / "such" / "dir" / "ready"))[1]
