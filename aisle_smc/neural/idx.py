"""Images for the neural examples: files in IDX format, as MNIST has them, and small digits."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from aisle_smc.arrays import Array

__all__ = ["LabelledImages", "digits", "mnist", "read_idx"]

# The third byte of the magic number says what an element is; all are big-endian.
ELEMENTS: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
# Deflate stores at most 258 bytes in 2 bits, so no file unpacks to more than this times its size.
DENSEST = 1032
# Read in pieces: gzip unpacks each into a buffer of its own first.
PIECE = 2**17
PARTS = {"train": "train", "test": "t10k"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledImages:
    """Grey images with a label each.

    Attributes
    ----------
    images : Tensor of uint8, shape (n, rows, columns)
        Grey values from 0 to `white`.
    labels : Tensor of int64, shape (n,)
        Class of each image, from 0.
    white : int
        The largest grey value there can be.
    origin : str
        Where they come from.
    """

    images: Tensor
    labels: Tensor
    white: int
    origin: str

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def __repr__(self) -> str:
        n, rows, columns = self.images.shape
        return f"LabelledImages({n} of {rows} x {columns}, {self.origin})"

    def intensities(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the images as rows of numbers from 0 to 1, shape (n, rows * columns)."""
        return self.images.flatten(1).to(dtype) / self.white


def read_idx(path: str | Path) -> Array:
    """Read an array from a file in IDX format, packed by gzip or not.

    Parameters
    ----------
    path : str or Path
        The file; gzip is told by its content, not by its name.

    Returns
    -------
    ndarray
        Writable and in the byte order of the machine, of the shape and type that the file says.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not an IDX file, or holds fewer or more bytes than its header says.

    Notes
    -----
    The bytes are unpacked into the array that is returned: no second copy is held.  Nothing is
    allocated for a header that asks for more than the file can hold.

    References
    ----------
    LeCun, Cortes and Burges, The MNIST database of handwritten digits: the format.
    """
    path = Path(path)
    with _opened(path) as (file, room):
        magic = file.read(4)
        if len(magic) < 4 or magic[0] or magic[1]:
            raise ValueError(
                f"{path} is no IDX file: it must begin with two zero bytes, a type and a number "
                f"of dimensions; it begins with {magic.hex(' ') or 'nothing'}"
            )
        if magic[2] not in ELEMENTS:
            known = ", ".join(f"0x{code:02x}" for code in ELEMENTS)
            raise ValueError(
                f"{path} has elements of type 0x{magic[2]:02x}, which IDX does not know; known "
                f"are {known}"
            )
        element, ndim = ELEMENTS[magic[2]], magic[3]
        sizes = file.read(4 * ndim)
        if len(sizes) < 4 * ndim:
            raise ValueError(
                f"{path} is cut off in its header: {ndim} dimensions take {4 * ndim} bytes; got "
                f"{len(sizes)}; fetch it again"
            )
        shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
        wanted = math.prod(shape) * element.itemsize
        if wanted > room:
            raise ValueError(
                f"{path} is cut off or has a wrong header: shape {shape} of {element.name} takes "
                f"{wanted} bytes; the file holds {room} at the most; fetch it again"
            )
        values: Array = np.empty(shape, element)
        _fill(path, file, values)
    if not element.isnative:
        values = values.byteswap(inplace=True).view(element.newbyteorder("="))
    return values


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Yield a file's unpacked content, and how many bytes that can be."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        size = path.stat().st_size
        if packed:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield unpacked, DENSEST * size  # type: ignore[misc]
        else:
            yield raw, size


def _fill(path: Path, file: BinaryIO, values: Array) -> None:
    """Read exactly the bytes of an array."""
    room = values.reshape(-1).view(np.uint8).data
    done = 0
    try:
        while done < len(room):
            piece = file.readinto(room[done : done + PIECE])  # type: ignore[attr-defined]
            if not piece:
                break
            done += piece
        beyond = len(file.read(1))
    except EOFError:
        beyond = 0
        done = min(done, len(room) - 1)
    except (gzip.BadGzipFile, OSError) as error:
        raise ValueError(f"{path} is damaged: {error}; fetch it again") from error
    if done < len(room):
        raise ValueError(
            f"{path} is cut off: shape {values.shape} of {values.dtype.name} takes {len(room)} "
            f"bytes; got {done}; fetch it again"
        )
    if beyond:
        raise ValueError(
            f"{path} goes on after its last element: shape {values.shape} of {values.dtype.name} "
            f"takes {len(room)} bytes; its header is wrong or two files were joined"
        )


def mnist(folder: str | Path, part: Literal["train", "test"] = "train") -> LabelledImages:
    """Read MNIST, or Fashion-MNIST, whose files have the same names.

    Parameters
    ----------
    folder : str or Path
        Where the four files are: ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the
        same with ``t10k``, each with or without ``.gz``.
    part : str
        ``"train"`` for 60 000 images, ``"test"`` for 10 000.

    Returns
    -------
    LabelledImages
        Of 28 x 28 pixels, 0 to 255.

    Raises
    ------
    FileNotFoundError
        If a file is missing; the names that were looked for are listed.
    ValueError
        If `part` is unknown, a file is damaged, or images and labels do not fit together.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document
    recognition; Xiao, Rasul and Vollgraf (2017), Fashion-MNIST.
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(map(repr, PARTS))}; got {part!r}")
    folder = Path(folder)
    images = _found(folder, f"{PARTS[part]}-images-idx3-ubyte")
    labels = _found(folder, f"{PARTS[part]}-labels-idx1-ubyte")
    return _labelled(images, labels, 255, f"{folder.name}, {part}")


def digits() -> LabelledImages:
    """Read the small handwritten digits that come with the package: 1797 of 8 x 8 pixels.

    Returns
    -------
    LabelledImages
        Grey values from 0 to 16, ten classes.

    Notes
    -----
    Optical Recognition of Handwritten Digits, the test set, by Alpaydin and Kaynak (1998), UCI
    Machine Learning Repository, doi 10.24432/C50P49, licence CC BY 4.0; the numbers and their
    order are those of scikit-learn's ``load_digits``.

    Examples
    --------
    >>> digits()
    LabelledImages(1797 of 8 x 8, UCI handwritten digits (CC BY 4.0))
    """
    folder = files("aisle_smc.neural").joinpath("datasets")
    with (
        as_file(folder.joinpath("digits-images-idx3-ubyte.gz")) as images,
        as_file(folder.joinpath("digits-labels-idx1-ubyte.gz")) as labels,
    ):
        return _labelled(images, labels, 16, "UCI handwritten digits (CC BY 4.0)")


def _found(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"neither {name} nor {name}.gz is in the folder {folder}; put the four files of the data "
        "set there, under the names they are published by"
    )


def _labelled(images: Path, labels: Path, white: int, origin: str) -> LabelledImages:
    """Read images and their labels, and check that they are what they should be."""
    found, classes = read_idx(images), read_idx(labels)
    for path, values, ndim, what in (
        (images, found, 3, "images, (image, row, column)"),
        (labels, classes, 1, "labels, (image,)"),
    ):
        if values.ndim != ndim or values.dtype != np.uint8:
            raise ValueError(
                f"{path} must hold {what}, as unsigned bytes; it holds shape {values.shape} of "
                f"{values.dtype.name}"
            )
    if found.shape[0] != classes.shape[0]:
        raise ValueError(
            f"there must be one label for each image; {images.name} has {found.shape[0]} images "
            f"and {labels.name} has {classes.shape[0]} labels"
        )
    return LabelledImages(
        images=torch.from_numpy(found),
        labels=torch.from_numpy(classes).long(),
        white=white,
        origin=origin,
    )
