"""`dig`, the page about DNS as it is typed, and HAProxy: all against a real `weft dev`."""

import re
import shlex
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import peers
from tests.support.dev import Dev, running_dev
from tests.support.sources import PROJECT

DEADLINE_S = 30
PAGE = (PROJECT / "docs" / "dns.md").read_text()
INSTANCES = [
    {"ID": "web-1", "Name": "web", "Port": 80, "Address": "10.1.0.1", "Tags": ["v1"]},
    {"ID": "web-2", "Name": "web", "Port": 81, "Address": "10.1.0.2", "Tags": ["v2"], "Check": {"TTL": "1h"}},
    {"ID": "web-3", "Name": "web", "Port": 82, "Tags": ["v1"], "Check": {"TTL": "1h"}},
    {"ID": "orders-1", "Name": "orders", "Port": 50051, "Address": "10.1.1.1"},
    {"ID": "orders-2", "Name": "orders", "Port": 50052, "Address": "10.1.1.2"},
    {"ID": "six", "Name": "six", "Port": 83, "Address": "2001:db8::1"},
]


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    with running_dev("--node-name", "n1") as found:
        for body in INSTANCES:
            found.register(body)
        found.ok("PUT", "/v1/agent/check/warn/service:web-2")
        yield found


def dig(dev: Dev, *words: str) -> list[str]:
    """What it prints, sorted, without empty lines."""
    host, _, port = dev.dns.rpartition(":")
    command = [peers.require("dig"), f"@{host}", "-p", port, "+tries=1", "+time=10", *words]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    return sorted(filter(None, ran.stdout.splitlines()))


def told(dev: Dev, path: str) -> list[dict[str, Any]]:
    """Instances that the HTTP API tells and whose worst status is not critical."""
    rows: list[dict[str, Any]] = dev.ok("GET", path)
    return [row for row in rows if all(check["Status"] != "critical" for check in row["Checks"])]


def address(row: dict[str, Any]) -> str:
    found: str = row["Service"]["Address"] or row["Node"]["Address"]
    return found


@pytest.mark.peer("dig")
@pytest.mark.parametrize("how", [(), ("+tcp",), ("+noedns",), ("+bufsize=512",)])
def test_dig_tells_what_the_health_api_tells(dev: Dev, how: tuple[str, ...]) -> None:
    rows = told(dev, "/v1/health/service/web")
    assert {row["Service"]["ID"] for row in rows} == {"web-1", "web-2"}
    assert dig(dev, "web.service.consul", "+short", *how) == sorted(map(address, rows))
    (tagged,) = told(dev, "/v1/health/service/web?tag=v2")
    assert dig(dev, "v2.web.service.weft", "+short", *how) == [address(tagged)]
    ports = sorted(line.split()[2] for line in dig(dev, "web.service.consul", "SRV", "+short", *how))
    assert ports == sorted(str(row["Service"]["Port"]) for row in rows)


@pytest.mark.peer("dig")
def test_dig_reads_every_kind_of_record(dev: Dev) -> None:
    assert dig(dev, "six.service.consul", "AAAA", "+short") == ["2001:db8::1"]
    assert dig(dev, "n1.node.consul", "+short") == ["127.0.0.1"]
    assert dig(dev, "-x", "10.1.0.1", "+short") == ["web.service.dc1.consul."]
    assert dig(dev, "-x", "127.0.0.1", "+short") == ["n1.node.dc1.consul."]
    assert dig(dev, "-x", "2001:db8::1", "+short") == ["six.service.dc1.consul."]
    assert dig(dev, "consul", "NS", "+short") == ["n1.node.dc1.consul."]
    assert dig(dev, "consul", "SOA", "+short")[0].startswith("ns.consul. hostmaster.consul. ")
    for words, status in (
        (("nobody.service.consul",), "NXDOMAIN"),
        (("six.service.consul", "A"), "NOERROR"),
        (("example.com",), "REFUSED"),
        (("consul", "AXFR", "+onesoa"), ""),
    ):
        said = "\n".join(dig(dev, *words))
        assert f"status: {status}" in said if status else "Transfer failed" in said
        assert "malformed" not in said


@pytest.mark.peer("dig")
def test_dig_asks_prepared_queries(dev: Dev) -> None:
    """What the query answers over HTTP; a template takes whatever name begins so."""
    dev.ok("POST", "/v1/query", {"Name": "v1-web", "Service": {"Service": "web", "Tags": ["v1"]}})
    template = {"Type": "name_prefix_match", "Regexp": "^geo-(.+)$"}
    dev.ok("POST", "/v1/query", {"Name": "geo-", "Template": template, "Service": {"Service": "${match(1)}"}})
    for query in ("v1-web", "geo-web", "geo-orders"):
        rows = dev.ok("GET", f"/v1/query/{query}/execute")["Nodes"]
        assert dig(dev, f"{query}.query.consul", "+short") == sorted(map(address, rows)), query
    assert "status: NXDOMAIN" in "\n".join(dig(dev, "geo-nobody.query.consul"))
    srv = dig(dev, "geo-orders.query.consul", "SRV", "+short")
    assert sorted(line.split()[2] for line in srv) == ["50051", "50052"]


@pytest.mark.peer("dig")
def test_what_the_page_says_to_type_prints_what_it_says(tmp_path: Path) -> None:
    match = re.search(r"^```bash\n(.*?)^```\n\nprints\n\n```\n(.*?)^```", PAGE, re.M | re.S)
    assert match
    typed, printed = match[1], match[2]
    with running_dev("--datacenter", "dc1") as dev:
        typed = typed.replace("8600", dev.dns.rpartition(":")[2])
        typed = re.sub(
            "^weft (.*)$", rf"{shlex.quote(sys.executable)} -m weft \1 >/dev/null", typed, flags=re.M
        )
        ran = subprocess.run(
            ["bash", "-euc", typed],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT), "WEFT_HTTP_ADDR": dev.http},
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.sub(r"id: \d+", "id: …", ran.stdout) == printed


HAPROXY = """
global
    stats socket {socket} mode 600 level admin
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
listen front
    bind {folder}/front.sock
    use_backend orders
"""


@pytest.mark.peer("haproxy")
def test_haproxy_finds_its_servers_by_srv_as_the_page_says(dev: Dev, tmp_path: Path) -> None:
    match = re.search(r"^resolvers weft\n.*?(?=^```)", PAGE, re.M | re.S)
    assert match
    control, config = tmp_path / "control", tmp_path / "haproxy.cfg"
    page = match[0].replace("8600", dev.dns.rpartition(":")[2])
    config.write_text(HAPROXY.format(socket=control, folder=tmp_path) + page)
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [peers.require("haproxy"), "-db", "-f", str(config)], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        expected = {("10.1.1.1", "50051"), ("10.1.1.2", "50052")}
        end = time.monotonic() + DEADLINE_S
        while (found := haproxy_servers(control)) != expected:
            assert process.poll() is None and time.monotonic() < end, (found, log.read_text())
            time.sleep(0.1)
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def haproxy_servers(control: Path) -> set[tuple[str, str]]:
    """Address and port of each server that it has found."""
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(str(control))
        except OSError:
            return set()  # it does not listen yet
        asked.sendall(b"show servers state orders\n")
        said = b"".join(iter(lambda: asked.recv(65536), b"")).decode()
    names, *rows = [line.split() for line in said.splitlines() if " " in line]
    columns = names[1:]
    states = [dict(zip(columns, row, strict=False)) for row in rows]
    return {(it["srv_addr"], it["srv_port"]) for it in states if it["srv_addr"] != "-"}


@pytest.mark.peer("dig")
def test_the_dns_token_says_what_may_be_told(tmp_path: Path) -> None:
    """Until it exists everything is refused; then its policy counts, at once when it changes."""
    secret, file = str(uuid.uuid4()), tmp_path / "dns.token"
    file.write_text(secret)
    file.chmod(0o600)
    with running_dev("--acl", "--node-name", "n1", "--dns-token-file", str(file)) as dev:
        management = dev.ok("PUT", "/v1/acl/bootstrap")["SecretID"]

        def call(path: str, body: object) -> Any:
            return dev.ok("PUT", f"{path}{'&' if '?' in path else '?'}token={management}", body)

        call("/v1/agent/service/register", INSTANCES[0])
        assert "status: REFUSED" in "\n".join(dig(dev, "web.service.consul"))
        rules = 'service "web" { policy = "read" }'
        policy = call("/v1/acl/policy", {"Name": "dns", "Rules": rules})["ID"]
        call("/v1/acl/token", {"SecretID": secret, "Policies": [{"ID": policy}]})
        assert "status: NXDOMAIN" in "\n".join(dig(dev, "web.service.consul"))
        rules += ' node "n1" { policy = "read" }'
        call(f"/v1/acl/policy/{policy}", {"Name": "dns", "Rules": rules})
        assert dig(dev, "web.service.consul", "+short") == ["10.1.0.1"]
        assert dig(dev, "consul.service.consul", "+short") == []


def test_dns_can_be_left_off() -> None:
    with running_dev("--dns-port", "-1") as dev:
        assert dev.dns == ""
