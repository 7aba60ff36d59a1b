"""Features that were extracted elsewhere, by whatever encoder: a folder with one file per slide."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stbench.data.readers.counts import check_unique, shown
from stbench.errors import DataError, SettingError
from stbench.features.encoder import PRECOMPUTED, Encoder, FloatArray, PatchArray
from stbench.files import visible
from stbench.reporting import SILENT, Reporter

_VERSION = 1  # raise it when reading or aligning changes
_FEATURES = ("embeddings", "features")
_BARCODES = ("barcodes", "barcode")


class Table(NamedTuple):
    """What a file holds: (n_rows, d) float32 features, and the spot of each row where the file says it."""

    features: FloatArray
    barcodes: list[str] | None


class _Facts(NamedTuple):
    """What is remembered of a file: hash of its bytes, width, and how many rows are not finite."""

    digest: str
    width: int
    broken: int


class Precomputed(Encoder):
    """Hands out features read from files; made for some slides by :meth:`of`.

    Args:
        folder: holds ``<slide>.h5`` (HEST-1k's ``embeddings`` and ``barcodes``), ``.npz`` or ``.pt`` with the same
            names, ``.csv`` whose first column holds barcodes, or a bare array (``.npy``, ``.pt``, ``.safetensors``).

    Raises:
        SettingError: there is no such folder.
    """

    dim = 0

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise SettingError(f"encoder {PRECOMPUTED!r} expected a folder of feature files, found no folder {folder}")
        self.folder, self.key = folder, f"{PRECOMPUTED}/{_VERSION}"
        self._files: dict[str, Path] = {}

    def of(self, slide_ids: Sequence[str]) -> Precomputed:
        """The features of some slides; the key tells their contents and their width, whatever else lies beside them.

        Raises:
            DataError: names every slide without file, with two, with an unreadable one, with values that are not
                finite, or of another width.
        """
        found = _listing(self.folder)
        files = {id_: paths[0] for id_ in sorted(slide_ids) if len(paths := found.get(id_, [])) == 1}
        facts, unreadable = _looked_at(files)
        problems = {
            "found no file for": [id_ for id_ in sorted(slide_ids) if id_ not in found],
            "found several files for": [id_ for id_ in sorted(slide_ids) if len(found.get(id_, [])) > 1],
            "could not read": unreadable,
            "found rows that are not finite in": [f"{id_} ({one.broken})" for id_, one in facts.items() if one.broken],
            "found several widths:": _widths(facts),
        }
        if said := "; ".join(f"{what} {', '.join(names)}" for what, names in problems.items() if names):
            raise DataError(
                f"{self.folder}: expected a file for each of {len(slide_ids)} slides (<slide>{'|'.join(READERS)}), "
                f"{said}; mend those files, or name other slides in a --split file"
            )
        return self._with(files, facts)

    def _with(self, files: dict[str, Path], facts: Mapping[str, _Facts]) -> Precomputed:
        chosen = Precomputed(self.folder)
        chosen._files = files
        chosen.sources = {id_: one.digest for id_, one in facts.items()}
        chosen.dim = next((one.width for one in facts.values()), 0)
        said = json.dumps(sorted(chosen.sources.items()))
        chosen.key += f"/{hashlib.sha256(said.encode()).hexdigest()}/{chosen.dim}"
        return chosen

    def features(self, slide_id: str, spot_ids: Sequence[str], reporter: Reporter = SILENT) -> FloatArray:
        """(n_spots, dim) in the order of the spots, joined on the barcodes where the file has them.

        Args:
            slide_id: one of those of :meth:`of`.
            spot_ids: names of the slide's spots.
            reporter: is told of rows that belong to no spot.

        Raises:
            DataError: a spot without row, a barcode given twice, or without barcodes another number of rows.
        """
        path = self._files[slide_id]
        return _aligned(read_table(path), spot_ids, path, reporter)

    def encode(self, patches: PatchArray, *, white_point: NDArray[np.float64], um_per_px: float | None) -> FloatArray:
        raise NotImplementedError("precomputed features are not computed from patches")


def _listing(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(visible(folder.iterdir())):
        if path.suffix in READERS:
            found.setdefault(path.stem, []).append(path)
    return found


def _looked_at(files: Mapping[str, Path]) -> tuple[dict[str, _Facts], list[str]]:
    """Facts of the files that can be read, and the complaints about the others."""
    facts, unreadable = {}, []
    for id_, path in files.items():
        try:
            stat = path.stat()
            facts[id_] = _facts(path, stat.st_size, stat.st_mtime_ns)
        except (OSError, DataError) as error:
            unreadable.append(str(error))
    return facts, unreadable


@lru_cache(maxsize=4096)
def _facts(path: Path, size: int, mtime_ns: int) -> _Facts:
    """Size and time of writing are part of the key, so a file that was replaced is read anew."""
    table = read_table(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return _Facts(digest, table.features.shape[1], int((~np.isfinite(table.features).all(axis=1)).sum()))


def _widths(facts: Mapping[str, _Facts]) -> list[str]:
    """Widths with the slides that have them, when there is more than one."""
    slides: dict[int, list[str]] = {}
    for id_, one in facts.items():
        slides.setdefault(one.width, []).append(id_)
    return [f"{width} ({shown(ids)})" for width, ids in slides.items()] if len(slides) > 1 else []


def _aligned(table: Table, spots: Sequence[str], path: Path, reporter: Reporter) -> FloatArray:
    if table.barcodes is None:
        if len(table.features) != len(spots):
            raise DataError(
                f"{path}: expected a row for each of {len(spots)} spots, found {len(table.features)} and no barcodes "
                "to join them on; store barcodes beside the features"
            )
        return table.features
    check_unique(table.barcodes, "barcode", str(path))
    row = {barcode: i for i, barcode in enumerate(table.barcodes)}
    missing = [spot for spot in spots if spot not in row]
    if missing:
        raise DataError(
            f"{path}: expected a row for each of {len(spots)} spots, found none for {len(missing)} ({shown(missing)}); "
            f"its barcodes: {shown(table.barcodes)}; extract them, or take those spots out of the slide"
        )
    if len(row) > len(spots):
        reporter.info(f"{path.name}: {len(row) - len(spots)} of {len(row)} rows left out that belong to no spot")
    found: FloatArray = table.features[[row[spot] for spot in spots]]
    return found


def read_table(path: Path) -> Table:
    """Read a file of features. Nothing in it is executed.

    Raises:
        DataError: not one of the formats, or the file does not hold what its format promises.
    """
    try:
        features, barcodes = READERS[path.suffix](path)
        if barcodes is not None:
            barcodes = [name.decode() if isinstance(name, bytes) else str(name) for name in np.ravel(barcodes)]
        features = np.asarray(features)
    except Exception as error:  # every reader fails in its own way on a damaged file
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: expected features, found an unreadable file ({reason})") from error
    if features.ndim != 2 or features.shape[1] == 0 or features.dtype.kind not in "fiu":
        raise DataError(f"{path}: expected numbers of shape (n_spots, width), found {features.shape} {features.dtype}")
    if barcodes is not None and len(barcodes) != len(features):
        raise DataError(f"{path}: expected a barcode per row, found {len(barcodes)} for {len(features)} rows")
    return Table(features.astype(np.float32, copy=False), barcodes)


def _from_hdf5(path: Path) -> tuple[Any, Any]:
    import h5py

    with h5py.File(path) as file:
        features, barcodes = _picked(file)
        return features[:], None if barcodes is None else barcodes[:]


def _from_npz(path: Path) -> tuple[Any, Any]:
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:  # numpy leaves a damaged one open
        return _picked(file)


def _from_npy(path: Path) -> tuple[Any, Any]:
    return np.load(path, allow_pickle=False), None


def _from_torch(path: Path) -> tuple[Any, Any]:
    import torch

    held = torch.load(path, map_location="cpu", weights_only=True)
    features, barcodes = _picked(held) if isinstance(held, Mapping) else (held, None)
    return features.float().numpy(), barcodes


def _from_safetensors(path: Path) -> tuple[Any, Any]:
    from safetensors.torch import load_file

    features, barcodes = _picked(load_file(str(path)))
    return features.float().numpy(), barcodes


def _from_csv(path: Path) -> tuple[Any, Any]:
    import pandas as pd

    names = pd.read_csv(path, usecols=[0], dtype=str, keep_default_na=False).iloc[:, 0]
    return pd.read_csv(path).iloc[:, 1:].to_numpy(), names.to_numpy()


def _picked(held: Mapping[str, Any]) -> tuple[Any, Any]:
    """Features and barcodes of what carries names; a sole array is the features whatever it is called."""
    named = [name for name in _FEATURES if name in held] or (list(held) if len(held) == 1 else [])
    if not named:
        raise DataError(f"expected {' or '.join(_FEATURES)}, it holds {shown(list(held))}")
    barcodes = next((held[name] for name in _BARCODES if name in held), None)
    return held[named[0]], barcodes


READERS: dict[str, Callable[[Path], tuple[Any, Any]]] = {
    ".h5": _from_hdf5,
    ".npz": _from_npz,
    ".npy": _from_npy,
    ".pt": _from_torch,
    ".safetensors": _from_safetensors,
    ".csv": _from_csv,
}
