"""Freed memory is kept where the C library can be told to, in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys
from framecast.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
import numpy as np
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(16_000_000)
before = faults()
for _ in range(5):
    np.ones(16_000_000)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_the_next_large_block_needs_no_new_pages():
    faults = {
        how: int(subprocess.run([sys.executable, "-c", CODE, how], capture_output=True).stdout)
        for how in ("kept", "returned")
    }
    assert faults["kept"] < 100 < faults["returned"]
