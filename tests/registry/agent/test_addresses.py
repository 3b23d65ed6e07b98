"""Trap 28: health checks have an address policy."""

import pytest

from registry.agent.addresses import check_address
from registry.agent.errors import ForbiddenAddress


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.1.1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
    ],
)
def test_trap_28_metadata_and_link_local_addresses_are_refused(address: str) -> None:
    with pytest.raises(ForbiddenAddress):
        check_address(address)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.1.2.3", "192.168.1.1", "8.8.8.8", "fd00::1", "::ffff:10.0.0.1"]
)
def test_trap_28_loopback_private_and_public_addresses_are_allowed(address: str) -> None:
    check_address(address)
