"""`weft snapshot`: everything the cluster knows, in one file."""

import os
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import click

from ..errors import EnvironmentProblem
from .consul_api import Api, takes_address
from .tables import show, show_result, takes_format

PATH = "/v1/snapshot"


@click.group()
def command() -> None:
    """Save the cluster's state, look into it, bring it back.

    The file holds no secret in the clear: credentials are digests, and the CA's key is sealed by the
    operator's key, which a restored cluster needs.
    """


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--stale", is_flag=True, help="Take it from this server even when there is no leader.")
@takes_address
@takes_format
def save(api: Api, form: str, file: Path, stale: bool) -> None:
    """Write a snapshot to FILE. It appears there only when it is whole and checked."""
    from registry.operator.archive import read_archive

    try:
        handle, scratch = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(handle, "w+b") as out:
                for block in api.download(PATH, {"stale": ""} if stale else {}):
                    out.write(block)
                out.seek(0)
                with read_archive(out) as found:
                    meta = found.meta
                os.fsync(out.fileno())
            Path(scratch).rename(file)
        except BaseException:
            with suppress(OSError):
                Path(scratch).unlink()
            raise
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot write {file} ({error.strerror}); make {file.parent} writable"
        ) from error
    document = {"File": str(file), "Index": meta.index}
    show_result(form, document, f"Saved and verified: {file}, index {meta.index}")


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@takes_address
@takes_format
def restore(api: Api, form: str, file: Path) -> None:
    """Put the state in FILE in the place of the cluster's. What has changed since is lost."""
    with _opened(file) as content:
        api.upload(PATH, content)
    show_result(form, {"File": str(file)}, f"Restored: {file}")


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@takes_format
def inspect(form: str, file: Path) -> None:
    """Check FILE, and say what it holds."""
    from registry.catalog.census import count
    from registry.operator.archive import read_archive

    with _opened(file) as content, read_archive(content) as found:
        meta, kinds = found.meta, count(found.records())
    made = datetime.fromtimestamp(meta.created_ms / 1000, UTC)
    document = {
        "Index": meta.index,
        "Term": meta.term,
        "Datacenter": meta.datacenter,
        "ClusterID": meta.cluster_id,
        "TrustDomain": meta.trust_domain,
        "Weft": meta.weft,
        "Created": made.isoformat(timespec="seconds"),
        "Size": meta.size,
        "Rows": kinds,
    }
    rows = [(name, value) for name, value in document.items() if name != "Rows"]
    rows += [(f"  {kind}", number) for kind, number in kinds.items()]
    show(form, document, ("Of the snapshot", ""), rows)


def _opened(file: Path) -> IO[bytes]:
    try:
        return file.open("rb")
    except OSError as error:
        raise EnvironmentProblem(f"{file}: cannot be read ({error.strerror}); check the path") from error
