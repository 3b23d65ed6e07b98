"""Sans-IO. What an operator decides about the audit log."""

from dataclasses import dataclass
from pathlib import Path

FILE_BYTES_DEFAULT = 64 * 1024 * 1024
"""About 150,000 lines."""

FILES_DEFAULT = 16
"""Together 1 GiB: days of a busy cluster, and no disk that fills."""


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """`path` is the file that is written; older ones stand beside it. `refuses`: while lines cannot be
    written, writes are refused too, rather than done without one."""

    path: Path
    file_bytes: int = FILE_BYTES_DEFAULT
    files: int = FILES_DEFAULT  # kept, the one that is written included
    refuses: bool = True
