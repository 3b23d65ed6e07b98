"""Programs that some tests talk to and that no Python package brings.

A test says `@pytest.mark.peer("h2load")`. Where the program is missing the test is skipped by name, with
the command that installs it; where WEFT_REQUIRE_PEERS=1 (CI) it fails, so that a skip is never silent.
"""

import os
import shutil

import pytest

DEBIAN_PACKAGES = {
    "dig": "bind9-dnsutils",
    "haproxy": "haproxy",
    "curl": "curl",
    "h2load": "nghttp2-client",
    "node": "nodejs",
    "npm": "npm",
    "nghttp": "nghttp2-client",
    "nghttpd": "nghttp2-server",
    "etcd": "etcd-server",
    "strace": "strace",
    "etcdctl": "etcd-client",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "systemctl": "systemd",
    "systemd-analyze": "systemd",
    "systemd-nspawn": "systemd-container",
    "debootstrap": "debootstrap",
    "dockerd": "docker.io",
    "docker": "docker.io",
}
"""Program -> the Debian package that holds it."""

_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])  # nghttpd is in sbin


def find(program: str) -> str | None:
    """The program's path, or None where it is not installed."""
    return shutil.which(program, path=_PATH)


def require(program: str) -> str:
    """The program's path. Skips the running test where it is missing, or fails it where CI says so."""
    if path := find(program):
        return path
    problem = f"{program} is not installed: apt-get install {DEBIAN_PACKAGES.get(program, program)}"
    if os.environ.get("WEFT_REQUIRE_PEERS") == "1":
        pytest.fail(problem, pytrace=False)
    pytest.skip(problem)
