"""What services were registered with: kept over restarts, and written no more often than it changes."""

import json
import stat
from pathlib import Path

import pytest

from registry.agent.definition_files import read_definitions
from registry.agent.service_definition import Home
from registry.client_agent import tokens
from registry.client_agent.tokens import FILE, KeptTokens
from weft.files import write_private

IDS = [f"web-{number}" for number in range(20)]
TEXT = json.dumps({"services": [{"name": it, "port": 1, "token": f"of-{it}"} for it in IDS[1:]]})
OTHER = json.dumps({"service": {"name": IDS[0], "port": 1}})


async def test_all_that_files_define_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def write(path: Path, data: bytes) -> None:
        written.append(data)
        write_private(path, data)

    monkeypatch.setattr(tokens, "write_private", write)
    defined = read_definitions([("a.json", TEXT), ("b.json", OTHER)], Home("n1", "dc1")).services
    kept = KeptTokens(tmp_path, {"config_file_service_registration": "of-files"}, lambda: IDS)
    await kept.remember_defined(defined)
    assert len(written) == 1
    await kept.remember_defined(defined)
    assert len(written) == 1, "nothing is new"
    again = KeptTokens(tmp_path, {}, lambda: IDS)
    assert [again.of_service(it) for it in IDS] == ["of-files", *(f"of-{it}" for it in IDS[1:])]
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
