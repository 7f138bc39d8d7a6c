"""The shipped series: counts, gaps, and the bytes of their source."""

import gzip
import hashlib
import pickle
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from aisle_smc.ssm.data import nile, wti

SOURCES = {
    "nile": (
        "nile.csv",
        "88e97bea7249e5832a85e41aec6ce4b8f7b1b14aae930c8363da7f193286b598",
    ),
    "wti": (
        "wti_crude_oil.csv",
        "27bfeab991f0662aeaa02948ca7917005c4654436b61472efd4ec0632799a2b4",
    ),
}
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ssm"


def packed(name):
    return files("aisle_smc.ssm").joinpath("datasets", f"{name}.csv.gz").read_bytes()


@pytest.mark.parametrize("name", SOURCES)
def test_the_shipped_bytes_are_the_known_ones(name):
    assert hashlib.sha256(gzip.decompress(packed(name))).hexdigest() == SOURCES[name][1]


@pytest.mark.parametrize("name", SOURCES)
def test_the_shipped_bytes_are_those_of_the_source(name):
    source = SHARED / SOURCES[name][0]
    if not source.exists():
        pytest.skip(f"the source {source.name} is not beside this checkout, in ../shared/data/ssm")
    assert gzip.decompress(packed(name)) == source.read_bytes()


@pytest.mark.parametrize("name", SOURCES)
def test_the_packed_file_carries_no_time_and_no_name(name):
    header = packed(name)[:8]
    assert header[3] == 0
    assert header[4:8] == b"\0\0\0\0"


def test_nile():
    data = nile()
    np.testing.assert_array_equal(data.years, np.arange(1871, 1971))
    assert data.years.dtype == np.int64
    assert data.volume.shape == (100,)
    assert data.volume.sum() == 91935.0
    assert data.volume[[0, 42, 99]].tolist() == [1120.0, 456.0, 740.0]
    assert "Cobb" in data.origin
    assert "Public domain" in data.origin


def test_wti_rows_are_the_weekdays():
    data = wti()
    assert data.dates.shape == data.price.shape == data.returns.shape == (8611,)
    assert data.dates.dtype == np.dtype("datetime64[D]")
    expected = np.arange(np.datetime64("1986-01-02"), np.datetime64("2019-01-04"))
    np.testing.assert_array_equal(data.dates, expected[np.is_busday(expected)])
    assert "public domain" in data.origin


def test_wti_prices_and_gaps():
    data = wti()
    assert np.isnan(data.price).sum() == 290
    assert data.price[0] == 25.56
    assert data.price[-1] == 46.92
    assert np.isnan(data.price[data.dates == np.datetime64("2019-01-01")]).all()
    assert np.nanmin(data.price) == 10.25


def test_wti_returns_need_two_prices_in_a_row():
    data = wti()
    closed = np.isnan(data.price)
    after = np.concatenate([[True], closed[:-1]])
    np.testing.assert_array_equal(np.isnan(data.returns), closed | after)
    # 290 closed days and 290 days after, of which 22 are closed too, and the first day.
    assert np.isnan(data.returns).sum() == 290 + 290 - 22 + 1
    assert data.returns[1] == pytest.approx(100 * np.log(26 / 25.56), rel=1e-12)
    assert data.returns[-1] == pytest.approx(100 * np.log(46.92 / 46.31), rel=1e-12)
    # New year's day is closed: neither it nor the day after has a daily return.
    assert np.isnan(data.returns[-3:-1]).all()


def test_wti_last_rows_are_those_of_the_whole():
    whole, part = wti(), wti(last=1500)
    np.testing.assert_array_equal(part.dates, whole.dates[-1500:])
    np.testing.assert_array_equal(part.price, whole.price[-1500:])
    np.testing.assert_array_equal(part.returns, whole.returns[-1500:])
    assert part.dates[0] == np.datetime64("2013-04-05")
    assert np.isfinite(part.returns[0])
    assert np.isnan(part.returns).sum() == 106


@pytest.mark.parametrize("last", [0, -1, 8612])
def test_wti_last_out_of_range(last):
    with pytest.raises(ValueError, match=rf"between 1 and the 8611 rows.*came {last}"):
        wti(last=last)


@pytest.mark.parametrize("array", [nile().years, nile().volume, wti().price, wti().returns])
def test_the_arrays_are_read_only(array):
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0


def test_repr_is_short_and_values_pickle():
    assert repr(nile()) == "Nile(100 years, 1871 to 1970)"
    assert repr(wti()) == "Wti(8611 days, 1986-01-02 to 2019-01-03, 290 without a price)"
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(wti(last=5))).price, wti(last=5).price)
