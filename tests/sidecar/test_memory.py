"""What the start needed is given back, and what was given back still works."""

import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.memory import clean_mappings

SMAPS = """\
7f0000000000-7f0000003000 r-xp 00001000 08:01 12 /usr/lib/a.so
Rss:                  12 kB
Anonymous:             0 kB
7f0000003000-7f0000004000 r--p 00004000 08:01 12 /usr/lib/a.so
Anonymous:             4 kB
7f0000004000-7f0000005000 rw-p 00005000 08:01 12 /usr/lib/a.so
Anonymous:             0 kB
7f0000005000-7f0000006000 r--p 00000000 00:00 0
Anonymous:             0 kB
7f0000006000-7f0000007000 r--s 00000000 08:01 13 /tmp/shared
Anonymous:             0 kB
"""

SETTLE = """
import re, ssl, grpc.aio
from cryptography.hazmat.primitives.asymmetric import ec
from pathlib import Path
from sidecar.memory import settle

def resident_kb():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

ec.generate_private_key(ec.SECP256R1())
before = resident_kb()
settle()
print(before - resident_kb())
ec.generate_private_key(ec.SECP256R1())
ssl.create_default_context()
"""


def test_only_untouched_pages_of_files_are_dropped() -> None:
    """A relocated or written page would come back without what was written to it."""
    assert list(clean_mappings(SMAPS)) == [(0x7F0000000000, 0x3000)]


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")
def test_the_process_lives_on_with_less() -> None:
    ran = subprocess.run([sys.executable, "-c", SETTLE], capture_output=True, text=True, check=True)
    assert int(ran.stdout) > 5_000
