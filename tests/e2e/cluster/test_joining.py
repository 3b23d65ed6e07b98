"""A join token lets in one agent, whatever server each asks, and whoever leads meanwhile."""

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from registry.identity.join_text import JoinText
from tests.support.servers import Cluster, Server, eventually, running_servers

TOKENS = 4
KEYS = 3  # agents that try by one token


def csr() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(Encoding.DER)).decode()


def ask(servers: list[Server], text: JoinText, node: str, csr_der: str, go: threading.Event) -> bool:
    """Whether this key gets in: asked of one server after the other until one says yes or no."""
    body = {"tokenId": text.id, "secret": text.secret, "node": node, "csrDer": csr_der}
    go.wait()
    turns = iter(range(1000))

    def answered() -> int:
        try:
            status = servers[next(turns) % len(servers)].call("PUT", "/v1/join", body, token="")[0]
        except OSError:
            return 0  # it was killed
        return status if status in (200, 403) else 0

    return bool(eventually(answered, "an answer") == 200)


@pytest.mark.long
def test_one_key_gets_in_while_the_leader_dies(tmp_path: Path) -> None:
    with running_servers(tmp_path, 3) as cluster, ThreadPoolExecutor(TOKENS * KEYS) as threads:
        texts = [
            JoinText.parse(cluster.leader().ok("PUT", "/v1/join-token", {"Node": f"vm-{n}"})["Token"])
            for n in range(TOKENS)
        ]
        go = threading.Event()
        keys = {(n, k): csr() for n in range(TOKENS) for k in range(KEYS)}
        asked = {
            (n, k): threads.submit(
                ask, cluster.servers[k % 3 :] + cluster.servers[: k % 3], texts[n], f"vm-{n}", key, go
            )
            for (n, k), key in keys.items()
        }
        leader = cluster.leader()
        go.set()
        leader.kill()
        inside = {which for which, found in asked.items() if found.result()}
        assert sorted(n for n, _ in inside) == list(range(TOKENS)), inside
        _only_they_may_ask_again(cluster, texts, keys, inside)


def _only_they_may_ask_again(
    cluster: Cluster,
    texts: list[JoinText],
    keys: dict[tuple[int, int], str],
    inside: set[tuple[int, int]],
) -> None:
    now = threading.Event()
    now.set()
    for (n, k), key in keys.items():
        assert ask(cluster.running, texts[n], f"vm-{n}", key, now) == ((n, k) in inside)
    rows = json.loads(cluster.running[0].call("GET", "/v1/join-tokens")[2])
    assert {row["RedeemedBy"] for row in rows} == {f"vm-{n}" for n in range(TOKENS)}
