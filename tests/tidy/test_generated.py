"""Generated code is what `make proto` makes of the contracts today."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.sources import PROJECT
from tests.tidy import generate


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*.py*"))
        if "__pycache__" not in path.parts
    }


@pytest.mark.parametrize(
    ("make", "package"), [(generate.generate, "weft/pb"), (generate.generate_examples, "examples/pb")]
)
def test_generated_code_is_current(make: Callable[[Path], None], package: str, tmp_path: Path) -> None:
    make(tmp_path / "pb")
    fresh, kept = contents(tmp_path / "pb"), contents(PROJECT / package)
    assert sorted(fresh) == sorted(kept), "run: make proto"
    for name, text in fresh.items():
        assert kept[name] == text, f"{package}/{name} is not current; run: make proto"


def test_contracts_are_never_a_python_package() -> None:
    assert not list((PROJECT / "proto").rglob("*.py"))
