"""`weft doctor`: what this machine lacks, and what it exposes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from ..errors import ConfigError, EnvironmentProblem

OUR_NAMES = ("weft", "registry", "sidecar", "ca")
"""Import names that we install. pip warns of no clash: the last one installed overwrites the others."""

LOOPBACK = (
    "every process on this machine can use a sidecar's loopback listeners and is then taken for its "
    "service; where others share the machine, set LocalBindSocketPath and LocalBindSocketMode"
)


class Finding(NamedTuple):
    """`level` is "ok", "note" or "problem"; only a problem fails the command."""

    level: str
    text: str


@click.command("doctor")
@click.option(
    "--credential",
    "credential_path",
    type=click.Path(path_type=Path),
    help="Also check this credential file.",
)
def command(credential_path: Path | None) -> None:
    """Check this machine for what Weft needs, and name what is exposed.

    Exits 1 where something has to be mended.
    """
    found = list(_findings(credential_path))
    for finding in found:
        click.echo(f"{finding.level:8} {finding.text}")
    problems = sum(finding.level == "problem" for finding in found)
    if problems:
        raise EnvironmentProblem(f"{problems} problem(s) found; mend what is marked above")


def _findings(credential_path: Path | None) -> Iterator[Finding]:
    import importlib.metadata

    yield from clashes(importlib.metadata.packages_distributions())
    yield _memory_files()
    yield _event_loop()
    if credential_path is not None:
        yield _credential(credential_path)
    yield Finding("note", LOOPBACK)


def clashes(installed: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Other distributions that install our import names. `installed`: import name -> distributions."""
    others = {name: sorted({*installed.get(name, ())} - {"weft"}) for name in OUR_NAMES}
    for name, distributions in others.items():
        if distributions:
            yield Finding(
                "problem",
                f"{' and '.join(distributions)} also installs the package {name!r}; "
                "give Weft a virtual environment of its own",
            )
    if not any(others.values()):
        yield Finding("ok", "no other package takes the import names of Weft")


def _memory_files() -> Finding:
    import os

    try:
        handle = os.memfd_create("weft-doctor")
    except (AttributeError, OSError):
        return Finding("problem", "anonymous memory files are missing: Weft needs Linux 3.17 or newer")
    try:
        reachable = Path(f"/proc/self/fd/{handle}").exists()
    finally:
        os.close(handle)
    if not reachable:
        return Finding("problem", "/proc is not mounted; TLS keys are loaded through it")
    return Finding("ok", "TLS keys load from memory")


def _event_loop() -> Finding:
    import importlib.util

    if importlib.util.find_spec("uvloop") is None:
        return Finding("note", "uvloop is not installed; a sidecar then needs far more CPU")
    return Finding("ok", "uvloop is installed")


def _credential(path: Path) -> Finding:
    from ..credential import load

    try:
        credential = load(path)
    except ConfigError as error:
        return Finding("problem", str(error))
    return Finding("ok", f"{path} is the credential of {credential.instance_key}")
