"""Gives back the memory that only the start needed, and keeps what serving needs again and again."""

import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc, malloc.h
# What a read, its frames and a write take is freed and taken again all the time. By itself malloc gives the
# end of the heap back as soon as little of it is free, and the kernel clears each page anew: 300 faults for a
# message of 1 MiB, a seventh of what forwarding one costs.
KEPT_FREE_BYTES = 16 * 1024 * 1024
MAPPED_FROM_BYTES = 4 * 1024 * 1024
_MADV_DONTNEED = 4  # Linux, asm-generic/mman-common.h
_SMAPS = Path("/proc/self/smaps")


def settle() -> None:
    """Call once, when all that lives long is made. Does only what the system knows."""
    gc.collect()
    # What lives now lives as long as the process: the collector need not walk it again.
    gc.freeze()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_TRIM_THRESHOLD, KEPT_FREE_BYTES)
        libc.mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    if hasattr(libc, "madvise") and _SMAPS.exists():
        _unmap_pages_of_files(libc)


def _unmap_pages_of_files(libc: ctypes.CDLL) -> None:
    """A third of the memory is code and constants of libraries, of which calls need a small part: what is
    needed comes back from the page cache, where all sidecars of a machine share it."""
    for start, end in clean_mappings(_SMAPS.read_text()):
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def clean_mappings(smaps: str) -> Iterator[tuple[int, int]]:
    """Start and end of the mappings of files that nobody can have written to: not writable, private, and
    without a page that differs from the file (relocated data is read-only, but differs)."""
    mapping: tuple[int, int] | None = None
    for line in smaps.splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            addresses, rights = words[0], words[1]
            is_file = len(words) > 5 and words[5].startswith("/")
            start, _, end = addresses.partition("-")
            kept = is_file and rights[1:2] == "-" and rights[3:4] == "p"
            mapping = (int(start, 16), int(end, 16)) if kept else None
        elif words[0] == "Anonymous:" and mapping is not None and words[1] == "0":
            yield mapping
