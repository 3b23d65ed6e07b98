"""`weft audit`: reads audit logs of servers; and the options that say where they are written."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.decorators import FC

from ..errors import ConfigError, EnvironmentProblem
from .tables import show, takes_format

if TYPE_CHECKING:
    from registry.audit.chain import Head
    from registry.audit.settings import AuditSettings
    from registry.audit.verify import Place

OFF = "off"
MIB = 1024 * 1024
EPILOG = """
\b
Is the whole log of this server untouched?
  weft audit verify /var/lib/weft/audit.log*
And is it still the one whose head the server's own log told of at its last start?
  weft audit verify --head 1042:5f2c... /var/lib/weft/audit.log*
"""

_OPTIONS = (
    click.option(
        "--audit-log",
        default="",
        metavar="FILE",
        help="Every write and every refusal, a JSON line each.  "
        "[default: audit.log in the data directory of a server; weft dev writes none]  'off' writes none.",
    ),
    click.option(
        "--audit-log-mib",
        type=click.IntRange(1, 4096),
        default=64,
        show_default=True,
        help="Turn the file over at this size, in MiB.",
    ),
    click.option(
        "--audit-log-files",
        type=click.IntRange(1, 10_000),
        default=16,
        show_default=True,
        help="How many to keep, the one that is written included; the oldest goes.",
    ),
    click.option(
        "--audit-on-failure",
        type=click.Choice(["refuse", "continue"]),
        default="refuse",
        show_default=True,
        help="While the file cannot be written: refuse writes, or go on without lines.",
    ),
)


def audit_options(command: FC) -> FC:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def audit_settings(given: Mapping[str, Any], default: Path | None) -> "AuditSettings | None":
    """What the options say; `default` is where the log is where none is named. None: there is none."""
    from registry.audit.settings import AuditSettings

    named = given["audit_log"]
    path = Path(named) if named else default
    if named == OFF or path is None:
        return None
    return AuditSettings(
        path, given["audit_log_mib"] * MIB, given["audit_log_files"], given["audit_on_failure"] == "refuse"
    )


@click.group()
def command() -> None:
    """Audit logs: who wrote what, and who was refused."""


def _head(_context: click.Context, _option: click.Parameter, text: str) -> "Head | None":
    from registry.audit.chain import Head

    seq, colon, digest = text.partition(":")
    if not text:
        return None
    if not (colon and seq.isascii() and seq.isdigit() and len(seq) < 19 and len(digest) == 64):
        raise click.BadParameter("give NUMBER:HASH, as the server's log has it after 'head'")
    return Head(int(seq), digest)


@command.command(epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--head", callback=_head, default="", metavar="NUMBER:HASH", help="A line that must be there.")
@takes_format
def verify(form: str, files: tuple[Path, ...], head: "Head | None") -> None:
    """Say whether the chain of hashes over FILES is whole, and where it is not.

    Names the first line that was changed, removed or inserted, and exits 1. The files may be given in any
    order, and the oldest may be missing. Lines cut off at the end show by the .head file beside them, or by
    --head.
    """
    from registry.audit.files import in_order, noted
    from registry.audit.verify import verify as read

    logs = in_order(path for path in files if path.suffix != ".head")
    if not logs:
        raise ConfigError("give the audit log's files, and not only its .head file")
    heads = {path: noted(path) for path in files if path.suffix == ".head"}
    found = read(_lines(logs), head or next((it for it in heads.values() if it), None))
    document = {
        "Lines": found.lines,
        "First": found.first_seq,
        "Head": str(found.head),
        "Wrong": found.wrong,
        "At": str(found.place or ""),
    }
    if form == "json" or not found.wrong:
        show(form, document, ("Of the audit log", ""), [(key, it) for key, it in document.items() if it])
    if found.wrong:
        raise EnvironmentProblem(f"{found.place}: {found.wrong}; the {found.lines} lines before it are whole")


def _lines(files: list[Path]) -> Iterator[tuple["Place", bytes]]:
    """What is still being written, without its end, is left out. Raises EnvironmentProblem."""
    from registry.audit.chain import LINE_BYTES_MAX
    from registry.audit.verify import Place

    for path in files:
        try:
            with path.open("rb") as file:
                number = 0
                while line := file.readline(LINE_BYTES_MAX + 1):
                    number += 1
                    if path is files[-1] and not line.endswith(b"\n") and not file.peek(1):
                        return
                    yield Place(str(path), number), line.removesuffix(b"\n")
        except OSError as error:
            raise EnvironmentProblem(
                f"{path}: cannot be read ({error.strerror}); it belongs to the server's user"
            ) from error
