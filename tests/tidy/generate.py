"""Generates weft/pb from proto/: `make proto`. A tidy test runs the same code and compares.

protoc writes imports as `weft.<package>`; ours live in `weft.pb.<package>`, so the one rewrite
below moves them. Nothing else in the output is touched.
"""

import re
import shutil
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"
OUT = ROOT / "weft" / "pb"
# "from weft.mesh.v1 import ..." and the qualified names that mypy-protobuf writes.
_PACKAGE = re.compile(r"\bweft\.(?!pb\b)(\w+)\.(v\d+)\b(?=[ .\n])")


def generate(out: Path) -> None:
    """Writes the package `weft.pb` into `out`, replacing what was there.

    Raises RuntimeError when protoc refuses a contract.
    """
    from grpc_tools import protoc

    scratch = out.with_name(out.name + ".tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    scripts = Path(sysconfig.get_path("scripts"))
    code = protoc.main(
        [
            "protoc",
            f"-I{PROTO}",
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            f"--python_out={scratch}",
            f"--mypy_out=quiet:{scratch}",
            f"--grpc_python_out={scratch}",
            f"--mypy_grpc_out=quiet:{scratch}",
            *sorted(str(path) for path in PROTO.rglob("*.proto")),
        ]
    )
    if code:
        raise RuntimeError(f"protoc exited with {code}")
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(scratch / "weft", out)
    shutil.rmtree(scratch)
    for path in sorted(out.rglob("*.py*")):
        path.write_text(_move_imports(path.read_text()))
    for folder in [out, *(p for p in sorted(out.rglob("*")) if p.is_dir())]:
        (folder / "__init__.py").write_text("")


def _move_imports(source: str) -> str:
    lines = source.splitlines(keepends=True)
    return "".join(
        _PACKAGE.sub(r"weft.pb.\1.\2", line)
        if "AddSerializedFile" not in line and not line.lstrip().startswith(("'", '"'))
        else line
        for line in lines
    )


if __name__ == "__main__":
    generate(OUT)
    print(f"wrote {sum(1 for _ in OUT.rglob('*.py'))} modules to {OUT.relative_to(ROOT)}")
    sys.exit(0)
