"""What is installed: the four roots, and nothing that belongs to the repository only."""

import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from tests.support.sources import PROJECT, ROOTS, sources
from weft import __version__


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    (path,) = WheelBuilder(str(PROJECT)).build(directory=str(tmp_path_factory.mktemp("wheel")))
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_four_roots_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert top == {*ROOTS, f"weft-{__version__}.dist-info"}


def test_the_wheel_holds_every_module_and_the_generated_code(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {str(source.path) for source in sources()} <= names
    assert "weft/pb/mesh/v1/mesh_pb2.py" in names


def test_the_wheel_brings_licence_and_command(wheel: zipfile.ZipFile) -> None:
    info = f"weft-{__version__}.dist-info"
    assert b"Apache License" in wheel.read(f"{info}/licenses/LICENSE")
    assert b"weft = weft.cli:main" in wheel.read(f"{info}/entry_points.txt")


def test_the_source_distribution_brings_the_contracts(tmp_path: Path) -> None:
    (path,) = SdistBuilder(str(PROJECT)).build(directory=str(tmp_path))
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"proto/weft/mesh/v1/mesh.proto", "LICENSE", "README.md", "CHANGELOG.md"} <= names
    assert not any(name.startswith(("tests/", "bench/")) for name in names)
