"""The files of an audit log: appended to, turned over by size, bounded in number.

    audit.log                    the one that is written
    audit.log.000000000001       earlier ones, by the number of their first line
    audit.log.head               the newest line that is synced, to be compared with at the next start

Blocking: the driver calls it from a thread of its own.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import orjson

from .chain import GENESIS, LINE_BYTES_MAX, Head, Line, read_line
from .errors import AuditFileUnusable
from .settings import AuditSettings

_MODE = 0o600
_HEAD_BYTES = 128  # written in place: a shorter text would leave an older one's end
_SEQ_DIGITS = 12


class AuditFiles:
    """Open for writing. `head` is what the next line follows; `found` says what is wrong with the past."""

    def __init__(self, settings: AuditSettings) -> None:
        """Raises AuditFileUnusable."""
        self._path = settings.path
        self._bytes_max = settings.file_bytes
        self._count_max = settings.files
        self.found = ""
        self.torn_bytes = 0  # of a line that a crash cut off; nobody was told that it was written
        try:
            self._handle = os.open(self._path, _FLAGS, _MODE)
            self._head_file = os.open(_beside(self._path, "head"), _FLAGS, _MODE)
            self.head = self._recover()
        except OSError as error:
            raise AuditFileUnusable(
                f"audit log {self._path}: {error.strerror or error}; "
                "make its directory, and let this user write there"
            ) from error
        self._first_seq = self.head.seq + 1 if not self._size else self._first_of(self._handle)

    def _recover(self) -> Head:
        """Where the chain stands, by the files themselves; compared with the head that was noted."""
        self._size = os.fstat(self._handle).st_size
        tail = os.pread(self._handle, LINE_BYTES_MAX, max(0, self._size - LINE_BYTES_MAX))
        whole, newline, torn = tail.rpartition(b"\n")
        if torn:
            self.torn_bytes = len(torn)
            self._size -= len(torn)
            os.ftruncate(self._handle, self._size)
        last = whole.rpartition(b"\n")[2] if newline else self._last_of_older()
        noted = _parse_head(os.pread(self._head_file, _HEAD_BYTES, 0))
        line = read_line(last) if last else None
        if last and (line is None or not line.is_sound):
            self.found = "the last line was changed"
        elif noted and noted.seq > (line.seq if line else 0):
            self.found = f"lines up to {noted} are gone"
        elif noted and line and noted.seq == line.seq and noted.hash != line.hash:
            self.found = f"line {noted.seq} is not the one that was written"
        return _head_after(line, noted)

    def _last_of_older(self) -> bytes:
        """The last line before the file that is written, which has none yet."""
        older = self.older()
        if not older:
            return b""
        with older[-1].open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LINE_BYTES_MAX))
            return file.read().rstrip(b"\n").rpartition(b"\n")[2]

    def _first_of(self, handle: int) -> int:
        line = read_line(os.pread(handle, LINE_BYTES_MAX, 0).partition(b"\n")[0])
        return line.seq if line else 0

    def older(self) -> list[Path]:
        """Files that were turned over, the oldest first."""
        begin = self._path.name + "."
        names = [it.name for it in self._path.parent.iterdir() if it.name.startswith(begin)]
        ends = sorted(end for name in names if (end := name.removeprefix(begin)).isdigit())
        return [_beside(self._path, end) for end in ends if len(end) == _SEQ_DIGITS]

    def append(self, lines: bytes, head: Head) -> None:
        """Writes all of it or nothing; survives the process, but not yet a loss of power. Raises OSError."""
        if self._size and self._size + len(lines) > self._bytes_max:
            self._turn_over()
        view, offset = memoryview(lines), self._size
        try:
            while view:
                count = os.pwrite(self._handle, view, offset)
                view, offset = view[count:], offset + count
        except OSError:
            os.ftruncate(self._handle, self._size)
            raise
        self._size = offset
        self.head = head

    def sync(self) -> None:
        """Returns when everything appended survives a loss of power. Raises OSError."""
        os.fdatasync(self._handle)
        text = orjson.dumps({"seq": self.head.seq, "hash": self.head.hash})
        os.pwrite(self._head_file, text.ljust(_HEAD_BYTES), 0)

    def _turn_over(self) -> None:
        self.sync()
        fresh = _beside(self._path, "new")
        handle = os.open(fresh, _FLAGS | os.O_TRUNC, _MODE)
        self._path.rename(_beside(self._path, f"{self._first_seq:0{_SEQ_DIGITS}}"))
        fresh.rename(self._path)
        os.close(self._handle)
        self._handle, self._size, self._first_seq = handle, 0, self.head.seq + 1
        for old in self.older()[: -(self._count_max - 1) or None]:
            old.unlink()

    def close(self) -> None:
        os.close(self._handle)
        os.close(self._head_file)


_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def _beside(path: Path, end: str) -> Path:
    return path.with_name(f"{path.name}.{end}")


def _parse_head(text: bytes) -> Head | None:
    try:
        found = orjson.loads(text)
        return Head(int(found["seq"]), str(found["hash"]))
    except (ValueError, KeyError, TypeError):
        return None


def _head_after(line: Line | None, noted: Head | None) -> Head:
    """What the next line follows. Numbers are not given twice, whatever became of the lines."""
    if line is None:
        return Head(noted.seq, GENESIS) if noted else Head()
    return Head(max(line.seq, noted.seq if noted else 0), line.hash)


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Files of one log by their first lines; what has none is left out. Raises AuditFileUnusable."""
    found = [(first, path) for path in paths if (first := _first_line(path))]
    return [path for _, path in sorted(found, key=lambda it: (_seq(it[0]), it[1].name))]


def _first_line(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.readline(LINE_BYTES_MAX)
    except OSError as error:
        raise AuditFileUnusable(
            f"audit log {path}: cannot be read ({error.strerror}); it belongs to the server's user"
        ) from error


def _seq(line: bytes) -> int:
    """Of a line that may have been changed; where it is none, the file comes first and is told of."""
    found = read_line(line.removesuffix(b"\n"))
    return found.seq if found else 0


def noted(path: Path) -> Head | None:
    """What a `.head` file says. Raises AuditFileUnusable."""
    return _parse_head(_first_line(path))
