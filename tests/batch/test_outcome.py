"""Files of draws, written and read by several threads at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("netCDF4")

CODE = """
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import xarray

from aisle_smc.batch.outcome import netcdf, read_netcdf

values = np.arange(4000.0).reshape(2, 2000)
group = xarray.Dataset({name: (("chain", "draw"), values) for name in "abcdef"})
tree = xarray.DataTree.from_dict({name: group for name in ("posterior", "prior", "stats")})


def there_and_back(_):
    return float(read_netcdf(netcdf(tree))["posterior"]["f"].sum())


with ThreadPoolExecutor(8) as pool:
    print(set(pool.map(there_and_back, range(48))) == {values.sum()})
"""


def test_threads_take_turns_in_the_library_of_files():
    """HDF5 ends a process that has two threads in it, so this is seen from outside."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr
