"""Features as people's tools save them: forms that are understood besides the plain ones, how to save the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stbench.errors import DataError
from stbench.text import one_line

_HOW = {
    ".h5": "with h5py.File({0!r}, 'w') as f: f['embeddings'] = features; f['barcodes'] = np.array(barcodes, dtype='S')",
    ".npz": "np.savez({0!r}, features=features, barcodes=np.array(barcodes, dtype=str))",
    ".npy": "np.save({0!r}, np.asarray(features, dtype=np.float32))",
    ".pt": "torch.save({{'features': torch.tensor(features), 'barcodes': list(barcodes)}}, {0!r})",
    ".safetensors": "safetensors.numpy.save_file({{'features': features}}, {0!r})",
    ".csv": "pd.DataFrame(features, index=barcodes).to_csv({0!r})",
}
_REFUSED_OBJECT = re.compile(r"GLOBAL (\S+) was not an allowed global")
_OBJECT_ARRAY = "Object arrays cannot be loaded"
_PICKLE = b"\x80"
_LONGEST = 200


def how_to_save(path: Path) -> str:
    """What to type in Python to save ``features``, (n_spots, width), and ``barcodes`` in the format of a file."""
    return f"save it with {_HOW[path.suffix].format(path.name)}"


def unreadable(path: Path, error: Exception) -> DataError:
    """Why a file could not be read and what to do, in one line; nothing a library says of loading it unsafely."""
    if isinstance(error, DataError):
        return DataError(f"{path}: {error}; {how_to_save(path)}")
    objects = _objects(path, error)
    if objects is not None:
        return DataError(
            f"{path}: expected numbers and text, found Python objects{objects}, which are never loaded because that "
            f"can run code; {how_to_save(path)}"
        )
    return DataError(f"{path}: expected features, found an unreadable file ({_reason(error)}); obtain the file again")


def _objects(path: Path, error: Exception) -> str | None:
    """The kind of objects that a library refused to load, empty where it does not say, None where there are none."""
    said = str(error)
    if (match := _REFUSED_OBJECT.search(said)) is not None:
        return f" ({match[1]})"
    pickled = isinstance(error, UnpicklingError) or "pickle" in said
    return "" if _OBJECT_ARRAY in said or (pickled and _starts_with(path, _PICKLE)) else None


def _starts_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _reason(error: Exception) -> str:
    said = one_line(str(error))
    if isinstance(error, UnpicklingError) or "pickle" in said:
        return "it is in another format than its name says, or damaged"
    return said[:_LONGEST] or type(error).__name__


def as_array(held: Any) -> NDArray[Any]:
    """Numbers of a tensor, whatever its precision and device, and whether or not it was being fitted.

    Raises:
        DataError: no tensor.
    """
    import torch

    if isinstance(held, np.ndarray):
        return held
    if not isinstance(held, torch.Tensor):
        raise DataError(f"expected a tensor or a dictionary of tensors, found {type(held).__name__}")
    dense = held.detach().to_dense() if held.layout is not torch.strided else held.detach()
    return np.asarray(dense.cpu().float().numpy())


def by_spot(held: Mapping[str, Any]) -> tuple[NDArray[Any], list[str]] | None:
    """Features and barcodes of what holds one vector under the name of each spot; None of anything else."""
    shapes = {tuple(getattr(one, "shape", ())) for one in held.values()}
    (shape,) = shapes if len(shapes) == 1 else ((),)
    if len(held) < 2 or len(shape) not in (1, 2) or (len(shape) == 2 and shape[0] != 1):
        return None
    rows = [one if isinstance(one, np.ndarray) else one[:] for one in held.values()]
    return np.stack([np.ravel(as_array(row)) for row in rows]), [str(name) for name in held]


def without_batch_axis(features: NDArray[Any]) -> NDArray[Any]:
    """(n_spots, width) of a batch of one slide, (1, n_spots, width), or of spots that are batches of one."""
    if features.ndim == 3 and 1 in features.shape[:2]:
        return features.reshape(-1, features.shape[2])
    return features


def in_other_formats(folder: Path, slide_id: str, endings: Iterable[str]) -> list[Path]:
    """Files that carry the name of a slide and are in none of the formats."""
    found = sorted(path for path in folder.iterdir() if path.name.startswith(f"{slide_id}."))
    return [path for path in found if path.suffix not in endings]
