"""Generates weft/pb from proto/ and examples/pb from examples/proto/: `make proto`.

A tidy test runs the same code and compares.

protoc writes imports as `weft.<package>`; ours live in `weft.pb.<package>` (those of others in
`weft.pb.vendor.<package>`, and those of `shop` in `examples.pb.shop`), so the one rewrite below moves them.
Nothing else in the output is touched.
"""

import re
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"
OUT = ROOT / "weft" / "pb"
EXAMPLES_PROTO = ROOT / "examples" / "proto"
EXAMPLES_OUT = ROOT / "examples" / "pb"
# "from weft.mesh.v1 import ..." and the qualified names that mypy-protobuf writes.
_PACKAGE = re.compile(r"\bweft\.(?!pb\b)(\w+)\.(v\d+)\b(?=[ .\n])")
_VENDOR_PACKAGE = re.compile(r"(?<![\w.])vendor\.(\w+)\.(v\d+)\b(?=[ .\n])")
_EXAMPLES_PACKAGE = re.compile(r"(?<![\w.])shop\.(v\d+)\b(?=[ .\n])")


def generate(out: Path) -> None:
    """Writes the package `weft.pb` into `out`, replacing what was there.

    Raises RuntimeError when protoc refuses a contract.
    """
    _generate(out, PROTO, _with_vendor, _move_weft)


def _with_vendor(scratch: Path) -> Path:
    shutil.move(scratch / "vendor", scratch / "weft" / "vendor")
    return scratch / "weft"


def _move_weft(line: str) -> str:
    return _VENDOR_PACKAGE.sub(r"weft.pb.vendor.\1.\2", _PACKAGE.sub(r"weft.pb.\1.\2", line))


def generate_examples(out: Path) -> None:
    """As `generate`, for the package `examples.pb`, which no wheel contains."""
    _generate(
        out,
        EXAMPLES_PROTO,
        lambda scratch: scratch,
        lambda line: _EXAMPLES_PACKAGE.sub(r"examples.pb.shop.\1", line),
    )


def _generate(out: Path, contracts: Path, top: Callable[[Path], Path], move: Callable[[str], str]) -> None:
    from grpc_tools import protoc

    scratch = out.with_name(out.name + ".tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    scripts = Path(sysconfig.get_path("scripts"))
    code = protoc.main(
        [
            "protoc",
            f"-I{contracts}",
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            f"--python_out={scratch}",
            f"--mypy_out=quiet:{scratch}",
            f"--grpc_python_out={scratch}",
            f"--mypy_grpc_out=quiet:{scratch}",
            *sorted(str(path) for path in contracts.rglob("*.proto")),
        ]
    )
    if code:
        raise RuntimeError(f"protoc exited with {code}")
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(top(scratch), out)
    shutil.rmtree(scratch, ignore_errors=True)
    for path in sorted(out.rglob("*.py*")):
        path.write_text(_move_imports(path.read_text(), move))
    for folder in [out, *(p for p in sorted(out.rglob("*")) if p.is_dir())]:
        (folder / "__init__.py").write_text("")


def _move_imports(source: str, move: Callable[[str], str]) -> str:
    lines = source.splitlines(keepends=True)
    return "".join(
        move(line) if "AddSerializedFile" not in line and not line.lstrip().startswith(("'", '"')) else line
        for line in lines
    )


if __name__ == "__main__":
    generate(OUT)
    generate_examples(EXAMPLES_OUT)
    for written in (OUT, EXAMPLES_OUT):
        print(f"wrote {sum(1 for _ in written.rglob('*.py'))} modules to {written.relative_to(ROOT)}")
    sys.exit(0)
