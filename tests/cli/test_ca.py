"""`weft ca` against a real registry."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ca.operator_key import write_file
from tests.support.dev import WEFT, running_dev
from weft.cli import run


def test_roots_settings_and_a_rotation(capsys: pytest.CaptureFixture[str]) -> None:
    with running_dev() as dev:

        def weft(*arguments: str, code: int = 0) -> str:
            assert run(["ca", *arguments, "--http-addr", dev.http]) == code
            told = capsys.readouterr()
            return told.out + told.err

        assert "72h0m0s" in weft("config")
        changed = json.loads(
            weft("config", "--leaf-ttl", "24h", "--csr-per-second", "50", "--format", "json")
        )
        assert changed["Config"]["LeafCertTTL"] == "24h0m0s"
        assert changed["Config"]["CSRMaxPerSecond"] == 50
        assert "LeafCertTTL 1s" in weft("config", "--leaf-ttl", "1s", code=1)
        told = weft("rotate")
        assert re.search(r"Active root: ([0-9a-f]{2}:){19}", told)
        assert "is trusted until" in told
        assert weft("roots").count("Weft CA") == 2
        assert "a rotation is under way" in weft("rotate", code=1)


def test_a_wrong_operator_key_is_one_clear_line(tmp_path: Path, make_key: Callable[[str], Path]) -> None:
    data = tmp_path / "data"
    with running_dev("--ca-key-file", str(make_key("right")), data_dir=data):
        pass
    flags = ["dev", "--http-port", "0", "--grpc-port", "0", "--data-dir", str(data)]
    wrong = [*WEFT, *flags, "--ca-key-file", str(make_key("wrong"))]
    ended = subprocess.run(wrong, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("weft: operator key: the CA's key is sealed by")


@pytest.fixture
def make_key(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        write_file(tmp_path / name)
        return tmp_path / name

    return make
