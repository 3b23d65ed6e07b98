"""Generated code is what `make proto` makes of the contracts today."""

from pathlib import Path

from tests.support.sources import PROJECT
from tests.tidy import generate


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*.py*"))
        if "__pycache__" not in path.parts
    }


def test_generated_code_is_current(tmp_path: Path) -> None:
    generate.generate(tmp_path / "pb")
    fresh, kept = contents(tmp_path / "pb"), contents(PROJECT / "weft" / "pb")
    assert sorted(fresh) == sorted(kept), "run: make proto"
    for name, text in fresh.items():
        assert kept[name] == text, f"weft/pb/{name} is not current; run: make proto"


def test_contracts_are_never_a_python_package() -> None:
    assert not list((PROJECT / "proto").rglob("*.py"))
