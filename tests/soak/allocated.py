"""How much memory a process uses: what both allocators have given out and not taken back.

Resident memory says more than that.  Python takes memory from the system in arenas of 1 MB and
gives one back only if nothing at all is left in it; the C library does so at the end of its heap
only.  After ten thousand calls at a time a few objects in each arena keep all of it, though most of
it is free for what comes next.  A leak shows in what is in use, whatever is kept beside it.
"""

import ctypes
import os
import re
import sys
import tempfile
from typing import Any

_SMALL = re.compile(rb"# bytes in allocated blocks\s*=\s*([\d,]+)")
_SIZES = re.compile(rb'<(?:total|system) type="(fast|rest|mmap|current)"[^>]* size="(\d+)"')
"""In the report of the C library; the totals of all its heaps come last."""


def in_use() -> float:
    """Memory that is in use in this process, in MB: what Python's allocator and the C library's
    have given out.  Without glibc it is Python's alone, which has all objects up to 512 bytes."""
    return (_python() + _library()) / 1e6


def _python() -> int:
    """Bytes in small objects; CPython tells of them on the standard error stream only."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            sys._debugmallocstats()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        said = _SMALL.search(file.read())
    return 0 if said is None else int(said[1].replace(b",", b""))


def _library() -> int:
    """Bytes in large objects and those of C, in the heaps of all threads."""
    libc: Any = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_info"):
        return 0
    libc.open_memstream.restype = ctypes.c_void_p
    text, size = ctypes.c_char_p(), ctypes.c_size_t()
    stream = ctypes.c_void_p(libc.open_memstream(ctypes.byref(text), ctypes.byref(size)))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    sizes = {name: int(count) for name, count in _SIZES.findall(text.value or b"")}
    libc.free(text)
    took = sum(sizes.get(name, 0) for name in (b"current", b"mmap"))
    return took - sum(sizes.get(name, 0) for name in (b"fast", b"rest"))
