"""A cluster of real `weft server` processes: what it survives, and what who runs it does with it."""

import base64
import contextlib
import json
import queue
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from registry.operator.archive import read_archive
from tests.support.servers import TOKEN, Cluster, Server, eventually, running_servers
from weft.cli import run
from weft.credential import METADATA_KEY
from weft.pb.mesh.v1 import mesh_pb2, mesh_pb2_grpc
from weft.pb.mesh.v1.observe_pb2 import Ended, Measurement, Measurements, Observation, Tapped
from weft.pb.registration.v1 import registration_pb2, registration_pb2_grpc

REGISTER = "/v1/agent/service/register"
CONFIGURATION = "/v1/operator/raft/configuration"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three servers. Every test leaves them running, and one of them leading."""
    with running_servers(tmp_path_factory.mktemp("cluster"), 3) as found:
        yield found


def register(server: Server, name: str) -> None:
    server.ok("PUT", REGISTER, {"Name": name, "Port": 80})


def on_all(cluster: Cluster, service: str) -> None:
    """Each running server answers the service from its own memory."""
    for server in cluster.running:
        path = f"/v1/catalog/service/{service}?stale"
        eventually(partial(server.ok, "GET", path), f"{service} on {server.name}")


def voters(server: Server) -> set[str]:
    found = server.ok("GET", CONFIGURATION)["Servers"]
    return {row["Node"] for row in found if row["Voter"]}


def test_a_write_on_a_follower_is_read_on_every_server_at_once(cluster: Cluster) -> None:
    leader, (follower, other) = cluster.leader(), cluster.followers()
    register(follower, "written-on-a-follower")
    for server in (follower, leader, other):  # default reads: no waiting, or the read is stale
        assert server.knows("written-on-a-follower"), server.name
        assert server.ok("GET", "/v1/catalog/service/written-on-a-follower?consistent")
    nodes = {row["Node"] for row in leader.ok("GET", "/v1/catalog/nodes")}
    assert nodes == {server.name for server in cluster.servers}


def test_every_server_says_the_same_about_who_leads(cluster: Cluster) -> None:
    leader = cluster.leader()
    for server in cluster.servers:
        assert server.ok("GET", "/v1/status/leader") == leader.address
        assert sorted(server.ok("GET", "/v1/status/peers")) == sorted(it.address for it in cluster.servers)
        shown = server.ok("GET", CONFIGURATION)["Servers"]
        assert [row["Node"] for row in shown if row["Leader"]] == [leader.name]
        assert all(row["LastIndex"] > 0 for row in shown), "followers ask the leader how far each one is"
        members = server.ok("GET", "/v1/agent/members")
        assert {row["Name"]: row["Status"] for row in members} == {it.name: 1 for it in cluster.servers}
        health = server.ok("GET", "/v1/operator/autopilot/health")
        assert (health["Healthy"], health["FailureTolerance"]) == (True, 1)


def test_reads_say_how_sure_they_are(cluster: Cluster) -> None:
    follower = cluster.followers()[0]
    for query, said in (
        ("", "leader"),
        ("?consistent", "consistent"),
        ("?stale", "stale"),
        ("?max_stale=1h", "stale"),
    ):
        status, headers, _ = follower.call("GET", f"/v1/catalog/nodes{query}")
        assert status == 200
        assert headers["X-Consul-Effective-Consistency"] == said
        assert headers["X-Consul-KnownLeader"] == "true"
        assert 0 <= int(headers["X-Consul-LastContact"]) < 10_000
    status, _, text = follower.call("GET", "/v1/catalog/nodes?stale&consistent")
    assert (status, text) == (400, b"Cannot specify ?stale with ?consistent, conflicting semantics.")
    assert cluster.leader().call("GET", "/v1/catalog/nodes")[1]["X-Consul-LastContact"] == "0"


def test_trap_01_a_cluster_answers_roots_and_status_only_without_a_token(cluster: Cluster) -> None:
    server = cluster.servers[0]
    for path in ("/v1/connect/ca/roots", "/v1/status/leader"):
        assert server.call("GET", path, token="")[0] == 200, path
    for path in ("/v1/health/service/consul", "/v1/catalog/nodes"):  # lists leave out what may not be read
        assert server.call("GET", path, token="")[::2] == (200, b"[]"), path
        assert server.call("GET", path, token="not-the-token-at-all")[::2] == (403, b"ACL not found"), path
    for method, path in (
        ("GET", "/v1/agent/connect/ca/leaf/web"),
        ("GET", "/v1/snapshot"),
        ("PUT", REGISTER),
        ("DELETE", "/v1/operator/raft/peer?id=x"),
    ):
        body = {"Name": "web"} if method == "PUT" else None
        status, _, text = server.call(method, path, body, token="")
        assert (status, text.startswith(b"Permission denied: anonymous token")) == (403, True), path
        unknown = server.call(method, path, body, token="not-the-token-at-all")
        assert unknown[::2] == (403, b"ACL not found"), path


def test_a_credential_names_every_server_and_a_leaf_comes_from_any(cluster: Cluster) -> None:
    follower = cluster.followers()[0]
    told = follower.ok("PUT", f"{REGISTER}?credential", {"Name": "proven", "Port": 80})
    assert told["RegistryAddresses"][0] == follower.told["grpc"]
    assert set(told["RegistryAddresses"]) == {server.told["grpc"] for server in cluster.servers}
    for server in cluster.servers:
        leaf = server.ok("GET", "/v1/agent/connect/ca/leaf/proven")
        assert leaf["ServiceURI"].endswith("/svc/proven")


def test_leadership_is_handed_over_on_demand(cluster: Cluster) -> None:
    old, heir = cluster.leader(), cluster.followers()[0]
    assert heir.ok("POST", f"/v1/operator/raft/transfer-leader?id={heir.server_id}") == {"Success": True}
    eventually(lambda: cluster.leader() is heir, "the heir leads")
    register(old, "after-the-transfer")
    on_all(cluster, "after-the-transfer")


def test_a_killed_leader_is_replaced_and_comes_back(cluster: Cluster) -> None:
    register(cluster.leader(), "before-the-kill")
    dead = cluster.leader()
    dead.kill()
    leader = cluster.leader()
    assert leader is not dead
    register(leader, "while-it-was-dead")
    assert leader.knows("before-the-kill"), "an acknowledged write is not lost"
    eventually(lambda: _status(leader, dead) == 4, "the dead server counts as failed")
    checks = leader.ok("GET", f"/v1/health/node/{dead.name}")
    assert {row["CheckID"]: row["Status"] for row in checks}["serfHealth"] == "critical"
    dead.start()
    cluster.leader()
    eventually(lambda: _status(dead, dead) == 1, "it is heard again")
    on_all(cluster, "while-it-was-dead")


def test_a_lock_outlives_the_leader_and_is_renewed_on_any_server(cluster: Cluster) -> None:
    leader, (holder, other) = cluster.leader(), cluster.followers()
    session = holder.ok("PUT", "/v1/session/create", {"TTL": "10s", "LockDelay": "0s"})["ID"]
    rival = other.ok("PUT", "/v1/session/create", {})["ID"]
    assert holder.ok("PUT", f"/v1/kv/lock?acquire={session}", b"1") is True
    assert other.ok("PUT", f"/v1/kv/lock?acquire={rival}", b"2") is False
    for server in cluster.running:
        assert server.ok("PUT", f"/v1/session/renew/{session}")[0]["ID"] == session, server.name
    leader.kill()
    cluster.leader()
    assert holder.ok("PUT", f"/v1/session/renew/{session}")[0]["ID"] == session
    assert other.ok("PUT", f"/v1/kv/lock?acquire={rival}", b"2") is False
    check = {"KV": {"Verb": "check-session", "Key": "lock", "Session": session}}
    write = {"KV": {"Verb": "set", "Key": "led", "Value": "MQ=="}}
    assert other.ok("PUT", "/v1/txn", [check, write])["Errors"] is None
    leader.start()
    cluster.leader()
    assert leader.ok("GET", "/v1/kv/lock")[0]["Session"] == session
    assert other.ok("PUT", f"/v1/session/destroy/{session}") is True
    assert other.ok("PUT", f"/v1/kv/lock?acquire={rival}", b"2") is True


def _status(asked: Server, about: Server) -> int:
    found: dict[str, int] = {row["Name"]: row["Status"] for row in asked.ok("GET", "/v1/agent/members")}
    return found[about.name]


def test_a_snapshot_is_saved_on_one_server_and_restored_on_another(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    file = cluster.folder / "backup.snap"
    saver, restorer = cluster.followers()
    options = ("--token-file", str(cluster.folder / "token"))
    register(saver, "in-the-snapshot")
    assert run(["snapshot", "save", str(file), "--http-addr", saver.told["http"], *options]) == 0
    with file.open("rb") as content, read_archive(content) as archive:
        assert archive.meta.datacenter == "dc1"
    register(restorer, "after-the-snapshot")
    before = int(restorer.call("GET", "/v1/catalog/services")[1]["X-Consul-Index"])
    assert run(["snapshot", "restore", str(file), "--http-addr", restorer.told["http"], *options]) == 0
    capsys.readouterr()
    status, headers, body = restorer.call("GET", "/v1/catalog/services")
    found = json.loads(body)
    assert status == 200
    assert "in-the-snapshot" in found
    assert "after-the-snapshot" not in found
    assert int(headers["X-Consul-Index"]) > before, "blocking queries come back"
    assert voters(restorer) == {server.name for server in cluster.servers}, "the members stay"
    assert run(["snapshot", "inspect", str(file)]) == 0
    assert "TrustDomain" in capsys.readouterr().out


def test_a_damaged_snapshot_changes_nothing(cluster: Cluster) -> None:
    leader = cluster.leader()
    register(leader, "not-lost")
    status, _, text = leader.call("PUT", "/v1/snapshot", b"\x1f\x8b nonsense")
    assert (status, text.startswith(b"Invalid snapshot: ")) == (400, True)
    assert leader.knows("not-lost")


def test_the_verbs_of_an_operator_reach_any_server(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    https = (
        *("--http-addr", f"https://{cluster.followers()[0].told['https']}"),
        *("--ca-file", str(cluster.folder / "weft-server-ca.pem")),
        *("--token-file", str(cluster.folder / "token")),
    )
    for words, text in (
        (("members",), "alive"),
        (("operator", "raft", "list-peers"), "leader"),
        (("operator", "raft", "transfer-leader"), "handed over"),
        (("operator", "autopilot", "get-config"), "MinQuorum"),
        (("operator", "autopilot", "set-config", "--max-trailing-logs", "500"), "updated"),
    ):
        assert run([*words, *https]) == 0, words
        assert text in capsys.readouterr().out
        cluster.leader()
    eventually(lambda: run(["operator", "autopilot", "state", *https]) == 0, "a state")
    capsys.readouterr()
    for words, text in (
        (("operator", "raft", "remove-peer", "--id", "nobody"), "was not found in the Raft configuration"),
        (("operator", "raft", "remove-peer"), "give one of --id and --address"),
    ):
        assert run([*words, *https]) != 0
        assert text in capsys.readouterr().err


@pytest.mark.long
def test_a_server_with_an_empty_disk_joins_and_the_dead_one_is_removed(tmp_path: Path) -> None:
    with running_servers(tmp_path, 3) as cluster:
        register(cluster.leader(), "before-the-join")
        dead = cluster.followers()[0]
        dead.kill()
        new = cluster.add("--retry-join", cluster.leader().address)
        new.start()
        eventually(lambda: new.name in voters(cluster.leader()), "the new server votes", 60)
        on_all(cluster, "before-the-join")
        eventually(lambda: dead.name not in voters(cluster.leader()), "the dead one is removed", 90)
        running = {server.name for server in cluster.running}
        eventually(
            lambda: {row["Node"] for row in cluster.leader().ok("GET", "/v1/catalog/nodes")} == running,
            "its node is gone from the catalog",
        )
        # It comes back with its old disk, and is told that it is no member any more.
        dead.start()
        process = dead.process
        assert process is not None
        eventually(lambda: process.poll() is not None, "the removed server ends", 60)
        assert process.returncode == 1
        assert "this server was removed from its cluster" in dead.said()
        dead.process = None


@pytest.mark.long
def test_one_server_goes_on_when_the_majority_is_lost_for_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_servers(tmp_path, 3) as cluster:
        register(cluster.leader(), "before-the-loss")
        on_all(cluster, "before-the-loss")
        survivor, lost, also_lost = cluster.servers
        lost.kill()
        also_lost.kill()
        eventually(
            lambda: survivor.call("GET", "/v1/catalog/nodes")[::2] == (500, b"No cluster leader"),
            "no answer without a majority",
        )
        assert survivor.call("PUT", REGISTER, {"Name": "refused"})[::2] == (500, b"No cluster leader")
        assert survivor.ok("GET", "/v1/catalog/service/before-the-loss?stale")
        recover = ["operator", "raft", "recover", "--data-dir", str(survivor.data)]
        assert run(recover) != 0, "while it runs"
        survivor.stop()
        assert run(recover) == 0
        assert "Nothing was changed" in capsys.readouterr().out
        assert run([*recover, "--yes"]) == 0
        survivor.start()
        eventually(lambda: cluster.leader() is survivor, "it leads alone")
        assert survivor.knows("before-the-loss")
        register(survivor, "after-the-recovery")
        # A lost server turns up with its old disk: the cluster is another one now.
        lost.launch()
        eventually(lambda: f"weft: the server at {survivor.address} is of cluster" in lost.said(), "refusal")
        assert voters(survivor) == {survivor.name}
        lost.kill()
        new = cluster.add("--retry-join", survivor.address)
        new.start()
        eventually(lambda: new.name in voters(survivor), "a new server votes", 60)
        assert new.knows("after-the-recovery")


def signed(server: Server, root: str, credential: dict[str, str]) -> mesh_pb2.SignCertificateResponse:
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    with grpc.secure_channel(server.told["grpc"], grpc.ssl_channel_credentials(root.encode())) as channel:
        return mesh_pb2_grpc.MeshStub(channel).SignCertificate(
            mesh_pb2.SignCertificateRequest(csr_der=csr.public_bytes(serialization.Encoding.DER)),
            metadata=((METADATA_KEY, f"{credential['InstanceKey']} {credential['Secret']}"),),
            timeout=20,
        )


def test_any_server_signs_for_a_credential_that_another_has_minted(cluster: Cluster) -> None:
    """At once: a sidecar that were refused would give up."""
    told = cluster.followers()[0].ok("PUT", f"{REGISTER}?credential", {"Name": "signed", "Port": 80})
    for server in cluster.servers:
        found = signed(server, told["RegistryCAPEM"], told)
        assert found.spiffe_id.endswith("/svc/signed"), server.name
    wrong = told | {"Secret": "A" * 43}
    for server in cluster.servers:
        with pytest.raises(grpc.RpcError) as refusal:
            signed(server, told["RegistryCAPEM"], wrong)
        assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED, server.name


def test_trap_01_registration_over_grpc_needs_the_token(cluster: Cluster) -> None:
    server = cluster.servers[0]
    request = registration_pb2.RegisterRequest(definition_json=b'{"Name": "by-grpc"}')
    root = grpc.ssl_channel_credentials(server.told["registry_ca_pem"].encode())
    with grpc.secure_channel(server.told["grpc"], root) as channel:
        stub = registration_pb2_grpc.RegistrationStub(channel)
        for metadata in ((), (("x-consul-token", "not-the-token-at-all"),)):
            with pytest.raises(grpc.RpcError) as refusal:
                stub.Register(request, metadata=metadata, timeout=20)
            assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert stub.Register(request, metadata=(("x-consul-token", TOKEN),), timeout=20).credential.secret


def test_what_sidecars_tell_any_server_is_in_the_graph_of_each(cluster: Cluster) -> None:
    """Each server passes on to the leader what it is told, and asks the leader."""
    told = cluster.leader().ok("PUT", f"{REGISTER}?credential", {"Name": "observed", "Port": 80})
    metadata = ((METADATA_KEY, f"{told['InstanceKey']} {told['Secret']}"),)
    call = Measurement(
        side=Measurement.SIDE_OUTBOUND,
        peer="stock",
        ended=[Ended(status_class=2, grpc_status=0, requests=5)],
        latency=[5],
    )
    over = threading.Event()
    streams: list[Any] = []  # one that nobody holds is cancelled

    def says() -> Iterator[Observation]:
        yield Observation(measurements=Measurements(calls=[call]))
        over.wait(60)

    with contextlib.ExitStack() as stack:
        stack.callback(over.set)
        for server in cluster.running:
            root = grpc.ssl_channel_credentials(server.told["registry_ca_pem"].encode())
            channel = stack.enter_context(grpc.secure_channel(server.told["grpc"], root))
            streams.append(mesh_pb2_grpc.MeshStub(channel).Observe(says(), metadata=metadata, timeout=60))
            assert next(iter(streams[-1])).pace.period_ms

        def told_all(server: Server) -> bool:
            edges = server.ok("GET", "/v1/mesh/graph?service=observed&window=60s")["Edges"]
            told: int = sum(edge["Requests"] for edge in edges)
            return told == 15

        for server in cluster.running:
            eventually(partial(told_all, server), "five requests told to each server", 30)


def test_a_tap_on_any_server_sees_what_sidecars_of_another_tell(cluster: Cluster) -> None:
    told = cluster.leader().ok("PUT", f"{REGISTER}?credential", {"Name": "tapped", "Port": 80})
    metadata = ((METADATA_KEY, f"{told['InstanceKey']} {told['Secret']}"),)
    holder, asked = cluster.followers()
    answers: queue.SimpleQueue[Observation] = queue.SimpleQueue()
    root = grpc.ssl_channel_credentials(holder.told["registry_ca_pem"].encode())
    with grpc.secure_channel(holder.told["grpc"], root) as channel:
        stub = mesh_pb2_grpc.MeshStub(channel)
        stream: Any = stub.Observe(iter(answers.get, None), metadata=metadata, timeout=60)
        assert next(stream).WhichOneof("kind") == "pace"
        url = f"http://{asked.told['http']}/v1/mesh/tap/tapped?limit=1"
        request = urllib.request.Request(url, headers={"X-Consul-Token": TOKEN})
        with urllib.request.urlopen(request, timeout=60) as lines:
            tap = next(stream).tap
            answers.put(Observation(tapped=Tapped(id=tap.id, requests=[b'{"path":"/x"}'])))
            found = [json.loads(line) for line in lines if line.strip()]
    assert {"tap": {"sidecars": 1}} in found
    assert found[-1] == {"path": "/x", "sidecar": told["InstanceKey"]}


def test_an_experiment_outlives_its_leader_and_ends_by_itself(cluster: Cluster) -> None:
    old = cluster.leader()
    fault = {"Abort": {"HTTPStatus": 503}}
    for name, duration in (("short", "8s"), ("long", "1h")):
        body = {"Name": name, "Service": "orders", "Duration": duration, "Fault": fault}
        cluster.followers()[0].ok("PUT", "/v1/mesh/chaos/experiment", body)
    old.kill()
    try:
        leader = cluster.leader()

        def found(name: str) -> tuple[str, str]:
            rows = leader.ok("GET", "/v1/mesh/chaos/experiments")
            return next((it["Status"], it["Reason"]) for it in rows if it["Name"] == name)

        assert found("long") == ("running", "")
        eventually(lambda: found("short") == ("ended", "its time was over"), "the next leader ends it", 30)
        (follower,) = (it for it in cluster.running if it is not leader)
        answer = follower.ok("DELETE", "/v1/mesh/chaos/experiments")
        assert answer == {"Stopped": ["long"], "Denied": []}
    finally:
        old.start()
        cluster.when_ready()


def test_sidecars_of_all_servers_are_known_to_each(cluster: Cluster) -> None:
    """And a server that is gone is named, not passed over."""
    definition = {"Name": "subscribed", "Port": 80, "Connect": {"SidecarService": {"Checks": []}}}
    told = cluster.leader().ok("PUT", f"{REGISTER}?credential", definition)
    metadata = ((METADATA_KEY, f"{told['InstanceKey']} {told['Secret']}"),)
    over = threading.Event()

    def says() -> Iterator[mesh_pb2.SubscribeRequest]:
        yield mesh_pb2.SubscribeRequest(hello=mesh_pb2.Hello(sidecar_version="7.8.9"))
        over.wait(60)

    streams: list[Any] = []  # one that nobody holds is cancelled

    def has_all(server: Server) -> bool:
        """A server that is slower than the time it has to answer is named as silent, once."""
        found = server.ok("GET", "/v1/mesh/proxies?service=subscribed")
        assert {row["Version"] for row in found["Proxies"]} <= {"7.8.9"}
        told = [row["Server"] for row in found["Proxies"]]
        assert {*told, *found["Silent"]} <= {*names}
        return told == names and not found["Silent"]

    names = sorted(server.name for server in cluster.running)
    with contextlib.ExitStack() as stack:
        stack.callback(over.set)
        for server in cluster.running:
            root = grpc.ssl_channel_credentials(server.told["registry_ca_pem"].encode())
            channel = stack.enter_context(grpc.secure_channel(server.told["grpc"], root))
            streams.append(mesh_pb2_grpc.MeshStub(channel).Subscribe(says(), metadata=metadata, timeout=60))
            next(iter(streams[-1]))
        for server in cluster.running:
            eventually(partial(has_all, server), "one sidecar at each server", 30)
        gone = cluster.followers()[0]
        gone.kill()
        asked = cluster.leader()
        found = asked.ok("GET", "/v1/mesh/proxies?service=subscribed")
        assert found["Silent"] == [gone.name]
        assert sorted(row["Server"] for row in found["Proxies"]) == sorted({*names} - {gone.name})
    gone.start()
    cluster.when_ready()


def ends(server: Server, text: str) -> None:
    """The process ends by itself, with one line that says why."""
    process = server.process
    assert process is not None
    eventually(lambda: process.poll() is not None, "the server ends", 30)
    server.process = None
    assert process.returncode != 0
    assert text in server.said().splitlines()[-1]


def test_a_wrong_operator_key_or_a_taken_name_ends_a_server(tmp_path: Path) -> None:
    with running_servers(tmp_path, 1) as cluster:
        (server,) = cluster.servers
        clash = cluster.add("--retry-join", server.address, "--node-name", server.name)
        clash.start()
        ends(clash, f"--node-name {server.name}: another server of the cluster has it")
        server.ok("DELETE", f"/v1/operator/raft/peer?id={clash.server_id}")
        server.stop()
        (tmp_path / "ca.key").write_text(base64.b64encode(b"x" * 32).decode())
        server.start()
        ends(server, "give the operator key that this cluster was set up with")
