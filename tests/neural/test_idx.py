"""IDX files: what is read is what was written, and a damaged file is named as such."""

from __future__ import annotations

import gzip
import hashlib
import struct
import tracemalloc
from importlib.resources import files

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from aisle_smc.neural.idx import digits, mnist, read_idx  # noqa: E402

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def packed(values):
    """Write an array by the definition of the format."""
    code = CODES[values.dtype.str[1:]]
    head = bytes([0, 0, code, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.astype(values.dtype.newbyteorder(">")).tobytes()


def write_set(folder, images, labels, part="train", end=""):
    wrap = gzip.compress if end else bytes
    (folder / f"{part}-images-idx3-ubyte{end}").write_bytes(wrap(packed(images)))
    (folder / f"{part}-labels-idx1-ubyte{end}").write_bytes(wrap(packed(labels)))


def grey(n=5):
    return np.arange(n * 28 * 28).astype(np.uint8).reshape(n, 28, 28)


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4), (0, 4)])
@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
def test_what_was_written_is_read(tmp_path, kind, shape, wrap):
    values = np.random.default_rng(0).integers(-100, 100, shape).astype(kind)
    path = tmp_path / "values"
    path.write_bytes(wrap(packed(values)))
    found = read_idx(path)
    np.testing.assert_array_equal(found, values)
    assert found.dtype == np.dtype(kind)
    assert found.dtype.isnative
    assert found.flags.writeable


@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "begins with nothing"),
        (b"\x00\x00", "begins with 00 00"),
        (b"\x89PNG\r\n\x1a\n", "begins with 89 50 4e 47"),
        (b"\x00\x00\x07\x01\x00\x00\x00\x01\x00", "type 0x07, which IDX does not know"),
        (b"\x00\x00\x08\x03\x00\x00\x00\x05", "3 dimensions take 12 bytes; got 4"),
        (packed(grey())[:-1], r"cut off.*shape \(5, 28, 28\) of uint8 takes 3920 bytes"),
        (packed(grey()) + b"\x00", "goes on after its last element"),
        (b"\x00\x00\x08\x02" + b"\xff" * 8, "cut off or has a wrong header"),
    ],
)
def test_damage_is_named(tmp_path, wrap, content, match):
    path = tmp_path / "broken"
    path.write_bytes(wrap(content))
    with pytest.raises(ValueError, match=match) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_damage_inside_gzip_is_named(tmp_path):
    whole = gzip.compress(packed(np.random.default_rng(0).integers(0, 255, 5000, np.uint8)))
    path = tmp_path / "broken.gz"
    path.write_bytes(whole[:-2000])
    with pytest.raises(ValueError, match="cut off"):
        read_idx(path)
    path.write_bytes(whole[:-8] + b"\x00\x00\x00\x00" + whole[-4:])
    with pytest.raises(ValueError, match=r"damaged.*CRC"):
        read_idx(path)
    path.write_bytes(whole[:2000] + b"\xff" * 500 + whole[2500:])
    with pytest.raises(ValueError, match="damaged"):
        read_idx(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "nothing")


@pytest.mark.parametrize("kind", ["u1", "f8"])
@pytest.mark.parametrize("wrap", [bytes, gzip.compress])
def test_no_second_copy_is_held(tmp_path, wrap, kind):
    path = tmp_path / "values"
    path.write_bytes(wrap(packed(np.zeros(2**23 // np.dtype(kind).itemsize, kind))))
    tracemalloc.start()
    read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.25 * 2**23


@pytest.mark.parametrize("end", ["", ".gz"])
def test_mnist(tmp_path, end):
    write_set(tmp_path, grey(5), np.arange(5, dtype=np.uint8), end=end)
    write_set(tmp_path, grey(2), np.array([9, 8], np.uint8), part="t10k", end=end)
    train, test = mnist(tmp_path), mnist(tmp_path, "test")
    assert torch.equal(train.images, torch.from_numpy(grey(5)))
    assert train.labels.tolist() == [0, 1, 2, 3, 4]
    assert train.labels.dtype == torch.int64
    assert len(test) == 2
    assert test.labels.tolist() == [9, 8]
    assert repr(test) == f"LabelledImages(2 of 28 x 28, {tmp_path.name}, test)"
    rows = train.intensities(torch.float64)
    assert rows.shape == (5, 784)
    np.testing.assert_array_equal(rows.numpy(), grey(5).reshape(5, -1) / 255.0)


def test_what_is_not_mnist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte nor .*gz"):
        mnist(tmp_path)
    with pytest.raises(ValueError, match="'train', 'test'; got 'validation'"):
        mnist(tmp_path, "validation")
    write_set(tmp_path, grey(5), np.zeros(4, np.uint8))
    with pytest.raises(ValueError, match=r"has 5 images and .* has 4 labels"):
        mnist(tmp_path)
    write_set(tmp_path, grey(5)[0], np.zeros(28, np.uint8))
    with pytest.raises(ValueError, match=r"must hold images.*shape \(28, 28\) of uint8"):
        mnist(tmp_path)
    write_set(tmp_path, grey(5), np.zeros(5, np.int32))
    with pytest.raises(ValueError, match=r"must hold labels.*\(5,\) of int32"):
        mnist(tmp_path)


LABELS_OF_MNIST = {
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


@pytest.mark.parametrize(
    ("part", "unpacked"),
    [
        ("train", "6bbc9ace898e44ae57da46a324031adb"),
        ("test", "2646ac647ad5339dbf082846283269ea"),
    ],
)
def test_the_published_mnist(shared_data, part, unpacked):
    found = mnist(shared_data / "mnist", part)
    assert torch.bincount(found.labels).tolist() == LABELS_OF_MNIST[part]
    assert hashlib.md5(packed(found.images.numpy())).hexdigest() == unpacked


def test_the_published_fashion_mnist(shared_data):
    found = mnist(shared_data / "fashion-mnist", "test")
    assert found.images.shape == (10000, 28, 28)
    assert torch.bincount(found.labels).tolist() == [1000] * 10


def test_digits():
    found = digits()
    assert found.images.shape == (1797, 8, 8)
    # What scikit-learn says of the same set: sum of all pixels and the count of each class.
    assert int(found.images.sum()) == 561718
    assert torch.bincount(found.labels).tolist() == [
        *(178, 182, 177, 183, 181),
        *(182, 181, 179, 174, 180),
    ]
    assert int(found.images.max()) == found.white == 16
    assert found.images[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert float(found.intensities().max()) == 1.0


@pytest.mark.parametrize("name", ["digits-images-idx3-ubyte.gz", "digits-labels-idx1-ubyte.gz"])
def test_the_shipped_files_carry_no_time_and_no_name(name):
    header = files("aisle_smc.neural").joinpath("datasets", name).read_bytes()[:8]
    assert header[3] == 0
    assert header[4:8] == b"\0\0\0\0"
