"""Gives back the memory that only the start needed."""

import ctypes
import gc


def settle() -> None:
    """Call once, when all that lives long is made. Does only what the system knows."""
    gc.collect()
    # What lives now lives as long as the process: the collector need not walk it again.
    gc.freeze()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
