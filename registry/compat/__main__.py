"""`python -m registry.compat agent -config-file FILE ...`: runs `weft dev` where a harness starts `consul`.

The process becomes `weft dev` (exec), so signals, the pid and the exit code are its own.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from weft import __version__
from weft.errors import WeftError
from weft.hcl import Value, loads

from ..agent.definition_files import SUFFIXES, split
from ..consul_keys import flatten, sorted_out
from .arguments import CannotDo, Launch, launch, overlaid, parser


def main(arguments: Sequence[str]) -> None:
    """Returns only for `version`. Exits with 1 and one line where something is wrong."""
    given = parser().parse_args(arguments)
    if given.command == "version":
        print(f"Consul v{__version__} (Weft)")
        return
    try:
        config: dict[str, Value] = {}
        definitions: list[Path] = []
        for file in _files(given.config_file, given.config_dir):
            ours, settings = split(loads(file.read_text(), str(file)))
            taken, without_effect = sorted_out(flatten(settings), str(file))
            config |= taken
            if ours:
                definitions.append(_with_suffix(file))
            if without_effect:
                print(
                    f"{file}: without effect here: {', '.join(without_effect)}", file=sys.stderr, flush=True
                )
        _become(launch(overlaid(config, given), dev=given.dev), definitions)
    except (WeftError, OSError, UnicodeDecodeError) as error:
        sys.exit(f"==> {error}")


def _files(files: Sequence[str], folders: Sequence[str]) -> list[Path]:
    """Files first, then those of folders by name, as Consul reads them when given in that order."""
    found = [Path(file) for file in files]
    for folder in folders:
        found += sorted(path for path in Path(folder).iterdir() if path.suffix in SUFFIXES)
    return found


def _with_suffix(file: Path) -> Path:
    """Raises CannotDo: `weft dev` tells definitions from its own options by it."""
    if file.suffix not in SUFFIXES:
        raise CannotDo(f"{file}: a file with definitions must end in {' or '.join(SUFFIXES)}")
    return file


def _become(plan: Launch, definitions: Sequence[Path]) -> None:
    arguments = list(plan.arguments)
    for file in definitions:
        arguments += ["--config-file", str(file)]
    if plan.token:
        arguments += ["--management-token-file", _in_memory(plan.token)]
    if plan.pid_file:
        Path(plan.pid_file).write_text(str(os.getpid()))
    os.execv(sys.executable, [sys.executable, "-m", "weft", *arguments])


def _in_memory(secret: str) -> str:
    """A file that no other user can open and that ends with the process; its path."""
    descriptor = os.memfd_create("management-token", 0)  # inherited: exec keeps it
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, secret.encode())
    return f"/proc/self/fd/{descriptor}"


if __name__ == "__main__":
    main(sys.argv[1:])
