"""Memory that was freed is kept for the next step instead of being given back at once.

glibc hands every large block back to the system when it is freed, and the next step's blocks are
new pages that have to be faulted in and zeroed. A training step or a rollout allocates the same
gigabytes again and again, so this costs up to two fifths of its time (docs/performance.md). The
process keeps its peak until it ends, which is why a command that runs and ends asks for it, and a
server does not.
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4  # malloc.h
LARGEST = 2**31 - 1
TOP_PAD = 1 << 26  # bytes; the heap grows by steps of this size
KEPT = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, LARGEST), (M_TOP_PAD, TOP_PAD))
# Where glibc's own thresholds end up when a program frees large blocks: as high as they go.
RETURNED = (
    (M_MMAP_MAX, 65536),
    (M_MMAP_THRESHOLD, 1 << 25),
    (M_TRIM_THRESHOLD, 1 << 26),
    (M_TOP_PAD, 1 << 17),
)


def keep_freed_memory() -> bool:
    """From now on, in this process. Returns whether there is such a setting (glibc only)."""
    return _set(KEPT)


def return_freed_memory() -> bool:
    """As glibc does by itself; for comparison."""
    return _set(RETURNED)


def _set(settings: tuple[tuple[int, int], ...]) -> bool:
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(name, value) == 1 for name, value in settings)
