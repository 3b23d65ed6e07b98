"""Tokens of `weft login`: one for each registry, in one file that only its owner may read."""

import os
from pathlib import Path

import orjson

from ..errors import ConfigError, EnvironmentProblem

VARIABLE = "WEFT_LOGIN_FILE"


def file() -> Path:
    """WEFT_LOGIN_FILE, else `weft/login.json` in the user's state directory (XDG)."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "weft" / "login.json"


def token_for(registry: str) -> str:
    """The token for the registry at this URL, "" where there is none. It is never sent to another one.

    Raises ConfigError where the file is not to be trusted.
    """
    return _tokens().get(registry, "")


def remember(registry: str, token: str) -> None:
    """Raises ConfigError, EnvironmentProblem."""
    _write(_tokens() | {registry: token})


def forget(registry: str) -> None:
    """Raises ConfigError, EnvironmentProblem."""
    tokens = _tokens()
    if tokens.pop(registry, None) is not None:
        _write(tokens)


def _tokens() -> dict[str, str]:
    from ..files import read_private

    path = file()
    if not path.exists():
        return {}
    try:
        found = orjson.loads(read_private(path, "login"))
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ConfigError(f"login file {path}: is not what `weft login` wrote; remove it and log in again")
    return found


def _write(tokens: dict[str, str]) -> None:
    from ..files import write_private

    path = file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot make {path.parent} ({error.strerror}); name another file in {VARIABLE}"
        ) from error
    write_private(path, orjson.dumps(tokens))
