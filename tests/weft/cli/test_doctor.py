"""`weft doctor`."""

from pathlib import Path

import pytest

from tests.weft.test_credential import CREDENTIAL
from weft import cli
from weft.cli.doctor import clashes


def test_a_sound_machine_passes_and_the_exposure_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor"]) == 0
    assert "problem" not in capsys.readouterr().out


def test_trap_05_the_doctor_names_the_shared_loopback(capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["doctor"])
    assert "LocalBindSocketPath" in capsys.readouterr().out


def test_another_distribution_under_our_names_is_a_problem() -> None:
    (finding,) = clashes({"sidecar": ["sidecar", "weft"], "weft": ["weft"], "rich": ["rich"]})
    assert finding.level == "problem"
    assert "'sidecar'" in finding.text
    assert [finding.level for finding in clashes({"sidecar": ["weft"]})] == ["ok"]


def test_a_credential_that_others_may_read_is_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "credential.json"
    CREDENTIAL.write(path)
    assert cli.run(["doctor", "--credential", str(path)]) == 0
    path.chmod(0o644)
    assert cli.run(["doctor", "--credential", str(path)]) == 1
    assert f"chmod 600 {path}" in capsys.readouterr().out
