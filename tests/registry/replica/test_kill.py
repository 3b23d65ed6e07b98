"""kill -9 of a real process under load: every write that was answered is there afterwards."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from registry.replica.replica import Replica

ROOT = Path(__file__).resolve().parents[3]
ANSWERS = 400  # several snapshots at 20 kB each
ROUNDS = 3


async def test_kill_9_loses_no_answered_write(tmp_path: Path) -> None:
    answered: set[tuple[str, str]] = set()
    last_index = 0
    for _ in range(ROUNDS):
        lines = _write_and_kill(tmp_path)
        answered |= {(f"w{writer}", f"n{number}") for _, writer, number in lines}
        last_index = max(last_index, *(index for index, _, _ in lines))
        log = await Replica.open(tmp_path)
        try:
            state = log.view()
            assert state.index >= last_index
            assert answered <= {(row.source, row.destination) for row in state.intentions.values()}
        finally:
            await log.close()
    assert len(answered) >= ANSWERS
    assert any(name.name.startswith("snapshot-") for name in (tmp_path / "log").iterdir())


def _write_and_kill(data_dir: Path) -> list[tuple[int, int, int]]:
    """Index, writer and number of each answer that was printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.registry.replica.writer_process", str(data_dir)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout
    try:
        lines = [process.stdout.readline() for _ in range(ANSWERS)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().splitlines(keepends=True)
    finally:
        process.kill()
        process.wait(timeout=30)
        process.stdout.close()
    whole = [line.split() for line in lines if line.endswith(b"\n")]
    return [(int(index), int(writer), int(number)) for index, writer, number in whole]
