"""Reads `.npz` files from outside: bounded before anything is unpacked, never with pickled objects."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_MEMBERS = 64


class NpzError(ValueError):
    """The file is not an archive of plain arrays within the limits; the message says what is wrong."""


def read_npz(path: Path, *, names: Collection[str], limit: int) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays `names` that the file has.

    Args:
        path: The file.
        names: Arrays to read; the others are left alone.
        limit: Largest size in bytes, of the file and of the unpacked arrays together.

    Raises:
        NpzError: Not readable as such, too large, too many members, or pickled objects inside.
    """
    try:
        size = path.stat().st_size
        if size > limit:
            raise NpzError(f"it has {size} bytes, more than {limit}")
        with zipfile.ZipFile(path) as archive:
            members = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
            if len(members) > MAX_MEMBERS:
                raise NpzError(f"it has {len(members)} members, more than {MAX_MEMBERS}")
            wanted = [name for name in members if name in names]
            unpacked = sum(members[name].file_size for name in wanted)
            if unpacked > limit:
                raise NpzError(f"its arrays unpack to {unpacked} bytes, more than {limit}")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name]) for name in wanted}
    except NpzError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many unrelated classes on damaged files
        raise NpzError(f"it cannot be read: {type(error).__name__}: {str(error)[:200]}") from error
