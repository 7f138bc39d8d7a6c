"""The one place where Numba options are chosen.

No fast-math flag is set anywhere: the value of every expression is then the IEEE value of the
source as written, whatever LLVM inlines, unrolls or vectorises.  That is what lets two drivers
that share these kernels agree to the last bit, and what keeps the all ``-inf`` case from becoming
NaN.  Elementwise loops vectorise all the same; reductions do when they carry explicit
accumulators.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from numba import njit

_OPTIONS = {"nogil": True, "error_model": "numpy"}


def _source_stamp() -> tuple[str, int]:
    """Return a checksum of every source file of this package."""
    folder = Path(__file__).parent
    crc = 0
    for path in sorted(folder.glob("*.py")):
        crc = zlib.crc32(path.read_bytes(), crc)
    return ("aisle_kernels", crc)


_STAMP = _source_stamp()


def kernel(function):
    """Compile a function of arrays and scalars, cached on disk between processes.

    Numba stamps a cached kernel with the time of its own file and so misses a change in a callee
    that lives in another file.  Stamping it with the checksum of the whole package instead makes
    such a change recompile every kernel that could see it.
    """
    dispatcher = njit(cache=True, **_OPTIONS)(function)
    cache_file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if cache_file is not None:
        cache_file._source_stamp = _STAMP
    return dispatcher


def scalar(function):
    """Compile a small function of numbers, inlined wherever compiled code calls it.

    Not cached: it lives in its callers.  Without the inlining hint a density stays a call, and a
    loop around a call does not vectorise.
    """
    return njit(forceinline=True, **_OPTIONS)(function)


def specialised(function):
    """Compile a function that closes over other compiled functions, or takes a Generator.

    Not cached: Numba's cache never hits on a function specialised on a user's function, and leaks
    files.
    """
    return njit(**_OPTIONS)(function)
