"""What lives when the start is over is no longer walked by the collector; what only the start needed goes."""

import gc
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.memory import clean_mappings, settle


@pytest.fixture(autouse=True)
def thaw() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_long_lived_objects_leave_the_collector() -> None:
    keeps = [[number] for number in range(1000)]
    settle()
    assert gc.get_freeze_count() >= len(keeps)


HEAD = "7f0000000000-7f0000002000 {} 00000000 fe:00 42 {}\nRss: 8 kB\nAnonymous: {} kB\nSwap: 0 kB\n"


@pytest.mark.parametrize(
    "rights, what, differs, clean",
    [
        ("r-xp", "/usr/lib/libssl.so.3", 0, True),
        ("r--p", "/usr/lib/libssl.so.3 (deleted)", 0, True),
        ("r--p", "/usr/lib/libssl.so.3", 4, False),  # relocated
        ("rw-p", "/usr/lib/libssl.so.3", 0, False),
        ("r--s", "/run/shared", 0, False),
        ("r-xp", "[vdso]", 0, False),
        ("r--p", "", 0, False),
    ],
)
def test_only_pages_that_the_file_still_has_are_given_back(
    rights: str, what: str, differs: int, clean: bool
) -> None:
    assert bool(list(clean_mappings(HEAD.format(rights, what, differs)))) is clean


def test_code_that_was_given_back_still_runs() -> None:
    settle()
    settle()
    assert hashlib.sha256(b"x" * 100_000).hexdigest()[:8] == "d69e6898"


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux only")
def test_a_process_is_smaller_afterwards() -> None:
    script = (
        "import grpc, cryptography.x509, pathlib, sidecar.memory\n"
        "def rss(): return int(pathlib.Path('/proc/self/statm').read_text().split()[1])\n"
        "before = rss(); sidecar.memory.settle(); print(before, rss())"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    before, after = map(int, said.split())
    assert after < before * 0.9


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux only")
def test_what_is_freed_and_taken_again_stays() -> None:
    """Or the kernel clears its pages anew each time."""
    script = (
        "import resource, sidecar.memory\n"
        "sidecar.memory.settle()\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def reads(): return [bytes(250_000) for _ in range(40)]\n"
        "reads(); before = faults()\n"
        "for _ in range(50): reads()\n"
        "print(faults() - before)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(said) < 40 * 50
