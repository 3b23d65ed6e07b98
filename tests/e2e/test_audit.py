"""What an audit log holds after its server was killed in the middle of writing."""

import json
import threading
from pathlib import Path

from tests.support.dev import Dev, running_dev
from tests.support.servers import eventually
from weft.cli import run

WRITERS = 4


def write_until_gone(dev: Dev, writer: int, answered: list[str]) -> None:
    for number in range(100_000):
        key = f"{writer}/{number}"
        try:
            status, _ = dev.call("PUT", f"/v1/kv/{key}", {})
        except OSError:
            return
        assert status == 200
        answered.append(key)


def test_every_answered_write_has_its_line_after_kill_9_and_the_chain_goes_on(tmp_path: Path) -> None:
    path, data = tmp_path / "audit.log", tmp_path / "data"
    flags = ("--audit-log", str(path), "--dns-port", "-1")
    answered: list[str] = []
    with running_dev(*flags, data_dir=data) as dev:
        writers = [
            threading.Thread(target=write_until_gone, args=(dev, number, answered))
            for number in range(WRITERS)
        ]
        for writer in writers:
            writer.start()
        eventually(lambda: len(answered) > 200, "some writes are answered")
        dev.process.kill()
        dev.process.wait()
        for writer in writers:
            writer.join(30)
    lines = [json.loads(line) for line in path.read_bytes().splitlines() if line.endswith(b"}")]
    written = {it["resource"].removeprefix("/v1/kv/") for it in lines if it["outcome"] == "done"}
    assert set(answered) <= written
    with running_dev(*flags, data_dir=data) as dev:
        assert dev.ok("GET", f"/v1/kv/{answered[-1]}")
        dev.ok("PUT", "/v1/kv/after", {})
    assert run(["audit", "verify", *map(str, tmp_path.glob("audit.log*"))]) == 0
    last = [json.loads(line) for line in path.read_bytes().splitlines()][-2:]
    assert [it["resource"] for it in last] == ["/v1/kv/after", ""]
