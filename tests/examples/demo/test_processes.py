"""No child outlives its starter, however that ends."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from examples.demo.processes import ROOT, Child, Processes
from tests.support.mesh import wait_for
from tests.support.waiting import until

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
STUBBORN = [sys.executable, "-c", DEAF + SLEEP[2]]
STARTER = """
import sys, time
from collections.abc import Callable
from pathlib import Path
from examples.demo.processes import Processes
child = Processes(Path(sys.argv[1])).start("child", [sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    """A zombie has ended; only its parent has not asked yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def said_up(child: Child) -> Callable[[], bool]:
    return lambda: "up" in child.said()


def start_starter(folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", STARTER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_child_dies_with_its_starter(tmp_path: Path, number: signal.Signals) -> None:
    with start_starter(tmp_path) as starter:
        assert starter.stdout
        child = int(starter.stdout.readline())
        assert is_running(child)
        starter.send_signal(number)
        starter.wait()
    await until(lambda: not is_running(child), "the child has ended")


def test_a_child_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        asking = threading.Thread(
            target=lambda: wait_for(said_up(processes.start("child", SLEEP)), "it runs")
        )
        asking.start()
        asking.join()
        with pytest.raises(subprocess.TimeoutExpired):
            processes._children[0].wait(0.3)


async def test_stop_ends_all_and_tells_who_did_not_end_well(tmp_path: Path) -> None:
    processes = Processes(tmp_path, stop_grace_s=0.2)
    polite = processes.start("polite", SLEEP)
    stubborn = processes.start("stubborn", STUBBORN)
    await until(lambda: "up" in polite.said() and "up" in stubborn.said(), "both run")
    unclean = processes.stop()
    assert sorted(unclean) == [f"polite ({-signal.SIGTERM})", f"stubborn ({-signal.SIGKILL})"]
    assert not is_running(polite.pid) and not is_running(stubborn.pid)


async def test_a_child_that_ended_by_itself_is_told(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        child = processes.start("brief", [sys.executable, "-c", "print('why'); raise SystemExit(3)"])
        assert child.wait(10) == 3
        assert processes.died() == [child]
        assert child.said() == "why\n"
