"""Options from TOML files: each key is an option's name with underscores for dashes.

Flags win over the environment, the environment over the file, the file over defaults.
"""

import difflib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.decorators import FC

from ..errors import ConfigError
from ..files import read_private

if TYPE_CHECKING:
    from registry.agent.definitions import DefinitionPaths

FILE_BYTES_MAX = 64 * 1024
OPTION, FOLDERS = "config_file", "config_dir"
DEFINITION_SUFFIXES = (".hcl", ".json")  # as registry.agent.definition_files reads
_MAY_BE_READ = 0  # a file without secrets may have any mode


def config_file(secrets: frozenset[str] = frozenset()) -> Callable[[FC], FC]:
    """The options `--config-file` and `--config-dir`; `definition_paths` tells what was given of definitions.

    Files that hold one of `secrets` must be for their owner only.
    """

    def take(context: click.Context, _option: click.Parameter, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        for path in paths:
            if path.suffix not in DEFINITION_SUFFIXES:
                context.default_map = {**(context.default_map or {}), **_values(context, path, secrets)}
        return tuple(path for path in paths if path.suffix in DEFINITION_SUFFIXES)

    files = click.option(
        "--config-file",
        OPTION,
        type=click.Path(path_type=Path),
        multiple=True,
        callback=take,
        is_eager=True,
        metavar="FILE",
        help='TOML with the options below, underscores for dashes: data_dir = "/var/lib/weft". Or, by its '
        "suffix .hcl or .json, definitions of services and checks of this machine, as Consul has them; read "
        "again when they change, and on SIGHUP. May be repeated.",
    )
    folders = click.option(
        "--config-dir",
        FOLDERS,
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="DIR",
        help="All .hcl and .json files of a directory, as definitions. May be repeated.",
    )
    return lambda command: files(folders(command))


def definition_paths(given: Mapping[str, Any]) -> "DefinitionPaths":
    """Where definitions are, from the options of `config_file`."""
    from registry.agent.definitions import DefinitionPaths

    return DefinitionPaths(given[OPTION], given[FOLDERS])


def _values(context: click.Context, path: Path, secrets: frozenset[str]) -> dict[str, Any]:
    """Raises ConfigError for what is no TOML, or no option."""
    values = _parse(path, read_private(path, "configuration", FILE_BYTES_MAX, _MAY_BE_READ))
    if secrets & values.keys():
        read_private(path, "configuration", FILE_BYTES_MAX)  # the same, with the mode that a secret needs
    known = {str(it.name): it for it in context.command.params if isinstance(it, click.Option)}
    for name, value in values.items():
        if name not in known or name == OPTION:
            close = difflib.get_close_matches(name, known, 1)
            raise ConfigError(
                f"{path}: there is no setting {name!r}{f'; is it {close[0]}?' if close else ''}"
            )
        if isinstance(value, list) != known[name].multiple or isinstance(value, dict):
            raise ConfigError(f"{path}: {name} must be {'a list' if known[name].multiple else 'one value'}")
    return values


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML ({error})") from None
