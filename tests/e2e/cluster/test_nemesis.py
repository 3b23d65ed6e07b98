"""Five rounds of the nemesis, one of each kind. The figures of record take twenty."""

import subprocess
import sys

import pytest

from tests.e2e.cluster.network import command_inside
from tests.e2e.cluster.servers import ROOT

ROUNDS_S = 600


@pytest.mark.long
def test_no_acknowledged_write_is_lost_and_every_key_is_linearizable() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.cluster.nemesis", "--rounds", "5"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=ROUNDS_S,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    if not command_inside():
        pytest.skip("partition-leader: this machine allows no network namespaces; the other rounds passed")
