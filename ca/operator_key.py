"""Where the operator's key comes from: a file, the environment, or a systemd credential.

One or more keys of 32 bytes, each in base64 on a line of its own; lines that begin with # are comments.
The first key seals, the others only open.
"""

import base64
import binascii
import os
from collections.abc import MutableMapping
from pathlib import Path

from weft.errors import ConfigError
from weft.files import read_private, write_private

from .errors import KeyUnusable
from .sealing import OPERATOR_KEY_BYTES, Keyring, OperatorKey

FILE_VARIABLE = "WEFT_CA_KEY_FILE"
VALUE_VARIABLE = "WEFT_CA_KEY"
SYSTEMD_VARIABLE = "CREDENTIALS_DIRECTORY"
SYSTEMD_CREDENTIAL = "weft-ca-key"
KEYS_MAX = 8  # a change needs two
TEXT_BYTES_MAX = 4096
_MEND = "write 32 random bytes in base64: openssl rand -base64 32"
_GROUP_WRITE_OR_OTHERS = 0o027  # systemd may grant the service's user by an ACL, which shows as group read


def find(environment: MutableMapping[str, str], file: Path | None = None) -> Keyring | None:
    """The operator's keys: of `file`, else of the first of the three variables that is set; or None.

    A key in the environment is taken out of it, so that no child process inherits it. Raises KeyUnusable.
    """
    value = environment.pop(VALUE_VARIABLE, "")
    path = file or Path(environment.get(FILE_VARIABLE, ""))
    if path != Path():
        return read_file(path)
    if value:
        return parse(value, VALUE_VARIABLE)
    credential = Path(environment.get(SYSTEMD_VARIABLE, "")) / SYSTEMD_CREDENTIAL
    if environment.get(SYSTEMD_VARIABLE) and credential.exists():
        return _read(credential, _GROUP_WRITE_OR_OTHERS)
    return None


def read_file(path: Path) -> Keyring:
    """Keys in a file that only its owner may read (0600, 0400). Raises KeyUnusable."""
    return _read(path, 0o077)


def write_file(path: Path) -> Keyring:
    """A new key in a new file of mode 0600. Raises EnvironmentProblem."""
    text = base64.b64encode(os.urandom(OPERATOR_KEY_BYTES)).decode()
    write_private(path, f"{text}\n".encode())
    return parse(text, str(path))


def in_memory() -> Keyring:
    """A key that ends with the process."""
    return Keyring([OperatorKey(os.urandom(OPERATOR_KEY_BYTES))])


def parse(text: str, where: str) -> Keyring:
    """Raises KeyUnusable, naming `where` and never the text."""
    lines = [line.strip() for line in text.splitlines()]
    encoded = [line for line in lines if line and not line.startswith("#")]
    if not 1 <= len(encoded) <= KEYS_MAX:
        raise KeyUnusable(
            f"operator key {where}: holds {len(encoded)} keys, must hold 1 to {KEYS_MAX}; {_MEND}"
        )
    try:
        return Keyring([OperatorKey(base64.b64decode(line, validate=True)) for line in encoded])
    except binascii.Error:
        raise KeyUnusable(f"operator key {where}: is not base64; {_MEND}") from None
    except KeyUnusable as error:
        raise KeyUnusable(f"operator key {where}: {str(error).removeprefix('operator key: ')}") from None


def _read(path: Path, forbidden_mode: int) -> Keyring:
    try:
        data = read_private(path, "operator key", TEXT_BYTES_MAX, forbidden_mode)
        return parse(data.decode("ascii"), str(path))
    except ConfigError as error:
        raise KeyUnusable(str(error)) from error
    except UnicodeDecodeError:
        raise KeyUnusable(f"operator key {path}: is not base64; {_MEND}") from None
