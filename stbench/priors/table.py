"""Gene priors by name, and those a user brings as a file."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stbench.errors import DataError, SettingError, UnknownNameError
from stbench.priors.coexpression import coexpression_embedding
from stbench.priors.dictionaries import read_dictionary
from stbench.priors.per_spot import PerSpotTable, open_per_spot, read_gene_names
from stbench.reading import check_arrays
from stbench.text import first_line

FloatArray = NDArray[np.float32]

FILE = "file:"
_MASK = "?missing=mask"
_LISTED = 5  # genes named in an error


@dataclass(frozen=True)
class GenePrior:
    """What is known of the panel genes before a slide is seen.

    Args:
        embedding: (G, d) float32, one vector per gene in panel order; zeros where the mask is False.
        mask: (G,) True where a gene has a vector.
        source: the spec it was built from.
    """

    embedding: FloatArray
    mask: NDArray[np.bool_]
    source: str

    def of(self, slide_id: str, spots: NDArray[np.int64]) -> tuple[FloatArray, NDArray[np.bool_]]:
        """(G, d) vectors and (G,) mask, the same for all spots."""
        return self.embedding, self.mask

    @property
    def dim(self) -> int:
        """Width d of the vectors."""
        return int(self.embedding.shape[1])


def build_prior(
    spec: str, expression: Sequence[FloatArray], genes: Sequence[str], slides: Sequence[str] = ()
) -> GenePrior | PerSpotTable | None:
    """Build a gene prior from training data only.

    Args:
        spec: ``none``; ``coexpression``, 64 principal components of the training co-expression; or ``file:PATH``, an
            ``.npz`` with arrays ``genes`` (text) and ``embedding`` (rows x d), or a ``.csv`` / ``.tsv`` with a header,
            genes in its first column and numbers in the others. ``file:PATH?missing=mask`` masks panel genes the file
            lacks. Rows of other genes are ignored. PATH may be a folder of per-spot arrays and ``genes.txt``, the names
            of their rows, one a line; see :func:`stbench.priors.per_spot.open_per_spot`.
        expression: per training slide (n_spots, G) expression.
        genes: panel genes in column order.
        slides: names of the training slides, parallel to ``expression``; needed for per-spot arrays alone.

    Returns:
        The prior, None for ``none``.

    Raises:
        UnknownNameError: no such prior.
        SettingError: an unknown option behind the path, or per-spot arrays without names of the training slides.
        DataError: the training expression or the file does not fit the panel, or the file cannot be used.
    """
    if spec == "none":
        return None
    if spec == "coexpression":
        _check_expression(expression, genes)
        embedding, mask = coexpression_embedding(expression)
        return GenePrior(embedding, mask, spec)
    path, masked = _file(spec)
    names, table = (read_gene_names(path), None) if path.is_dir() else read_embedding(path)
    rows = _rows_of_panel(names, tuple(genes), spec, mask_missing=masked)
    if table is not None:
        return GenePrior(np.where(rows[:, None] >= 0, table[rows], np.float32(0)), rows >= 0, spec)
    if len(slides) != len(expression):
        raise SettingError(f"gene prior {spec!r} differs from spot to spot, which this method cannot use; give a table")
    n_spots = {slide: len(values) for slide, values in zip(slides, expression, strict=True)}
    return open_per_spot(path, "gene", n_spots, rows, len(names))


def build_spot_prior(spec: str, slides: Mapping[str, int]) -> PerSpotTable | None:
    """One vector per training spot, for the alignment of pooled tokens.

    Args:
        spec: ``none``, or ``file:FOLDER`` with ``<slide>_spot_embeddings.npy``, see
            :func:`stbench.priors.per_spot.open_per_spot`.
        slides: training slides and their number of spots.

    Raises:
        UnknownNameError: no such prior.
        SettingError: an option behind the path.
        DataError: the folder lacks a slide, or a file cannot be used.
    """
    if spec == "none":
        return None
    path, masked = _file(spec)
    if masked:
        raise SettingError(f"spot prior {spec!r}: expected no {_MASK!r}, for there are no genes to mask; leave it out")
    if not path.is_dir():
        raise DataError(
            f"spot prior {path}: expected a folder with <slide>_spot_embeddings.npy, found none; stbench prior "
            "--model cellplm makes one, and align=gene takes tables of genes"
        )
    return open_per_spot(path, "spot", slides)


def _file(spec: str) -> tuple[Path, bool]:
    """Path and whether missing genes are masked."""
    if not spec.startswith(FILE):
        raise UnknownNameError("gene prior", spec, ["none", "coexpression", "file:PATH"])
    place, question, option = spec.removeprefix(FILE).partition("?")
    if question and question + option != _MASK:
        raise SettingError(f"gene prior {spec!r}: expected the option {_MASK!r}, found {question + option!r}")
    return Path(place), bool(question)


def _check_expression(expression: Sequence[FloatArray], genes: Sequence[str]) -> None:
    if not expression:
        raise DataError("gene prior 'coexpression' expected at least one training slide, found none")
    for index, slide in enumerate(expression):
        if slide.ndim != 2 or slide.shape[1] != len(genes):
            raise DataError(
                f"gene prior 'coexpression', training slide {index}: expected (n_spots, {len(genes)}) expression, "
                f"found {slide.shape}"
            )
        if not np.isfinite(slide).all():
            raise DataError(f"gene prior 'coexpression', training slide {index}: found a value that is not finite")


def _rows_of_panel(names: list[str], genes: tuple[str, ...], spec: str, *, mask_missing: bool) -> NDArray[np.int64]:
    """(G,) row of each panel gene in a table, -1 where it lacks one."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"gene prior {spec!r}: expected each gene once, found {_some(repeated)} repeated")
    row_of = {name: row for row, name in enumerate(names)}
    missing = [gene for gene in genes if gene not in row_of]
    if len(missing) == len(genes):
        raise DataError(
            f"gene prior {spec!r}: expected rows for {len(genes)} panel genes ({_some(list(genes))}), found none among "
            f"{len(names)} rows ({_some(names)}); check that both use gene symbols"
        )
    if missing and not mask_missing:
        raise DataError(
            f"gene prior {spec!r}: expected a row for each of {len(genes)} panel genes, {len(missing)} are missing "
            f"({_some(missing)}); append {_MASK!r} to mask them"
        )
    return np.array([row_of.get(gene, -1) for gene in genes])


def read_embedding(path: Path) -> tuple[list[str], FloatArray]:
    """Read a table of gene vectors.

    Args:
        path: ``.npz``, ``.csv`` or ``.tsv`` as described in :func:`build_prior`; ``.txt`` as gene2vec is published (a
            gene and its numbers a line, with or without the first line of word2vec); ``.json`` from gene to numbers,
            also as ``{"embeddings": [...]}``, a form of GenePT.

    Returns:
        Gene names and (rows, d) float32 vectors.

    Raises:
        DataError: no such file, another type, truncated, a value that is missing or no number.
    """
    readers = {".npz": _read_npz, ".csv": _read_text, ".tsv": _read_text, ".txt": _read_words, ".json": _read_json}
    if path.suffix not in readers:
        raise DataError(f"expected a gene prior as {', '.join(readers)}, found {path.name!r}; convert it")
    if not path.is_file():
        raise DataError(f"expected a gene prior at {path}, found no such file")
    names, table = readers[path.suffix](path)
    broken = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(broken):
        raise DataError(
            f"gene prior {path}: expected finite numbers, found a missing or infinite one in the row of "
            f"{names[broken[0]]!r} ({len(broken)} rows in all)"
        )
    return names, table


def _read_npz(path: Path) -> tuple[list[str], FloatArray]:
    try:
        check_arrays(path)
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            names, table = np.asarray(file["genes"]), np.asarray(file["embedding"], dtype=np.float32)
    except KeyError as error:
        raise DataError(f"gene prior {path}: expected arrays 'genes' and 'embedding', found no {error}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"gene prior {path}: expected an .npz of text and numbers, found: {first_line(error)}"
        ) from error
    if names.ndim != 1 or table.ndim != 2 or len(names) != len(table) or table.shape[1] == 0:
        raise DataError(
            f"gene prior {path}: expected 'genes' (rows,) and 'embedding' (rows, d), "
            f"found {names.shape} and {table.shape}"
        )
    return [str(name) for name in names], table


def _read_text(path: Path) -> tuple[list[str], FloatArray]:
    separator = "\t" if path.suffix == ".tsv" else ","
    try:
        check_arrays(path)
        frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:  # pandas' parser errors and bad UTF-8 are ValueErrors
        reason = first_line(error)
        raise DataError(f"gene prior {path}: expected a table with a header, found: {reason}") from error
    if frame.shape[1] < 2 or frame.empty or not isinstance(frame.index, pd.RangeIndex):
        raise DataError(
            f"gene prior {path}: expected a header over a column of genes and at least one of numbers, separated by "
            f"{separator!r}, found {frame.shape[1]} columns and {len(frame)} rows under the header"
        )
    names = [str(name) for name in frame.iloc[:, 0]]
    numbers = frame.iloc[:, 1:].apply(pd.to_numeric, errors="coerce")
    return names, numbers.to_numpy(dtype=np.float32)


def _read_words(path: Path) -> tuple[list[str], FloatArray]:
    try:
        check_arrays(path)
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if lines and len(lines[0]) == 2:  # the count and width of word2vec
            del lines[0]
        table = np.array([[float(value) for value in line[1:]] for line in lines], dtype=np.float32)
    except (OSError, ValueError) as error:
        raise DataError(f"gene prior {path}: expected a gene and its numbers on each line, found: {error}") from error
    if table.ndim != 2 or table.shape[1] == 0:
        raise DataError(f"gene prior {path}: expected a gene and its numbers on each line, found none")
    return [line[0] for line in lines], table


def _read_json(path: Path) -> tuple[list[str], FloatArray]:
    found = read_dictionary(path)
    rows = [value.get("embeddings") if isinstance(value, dict) else value for value in found.values()]
    try:
        table = np.array(rows, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"gene prior {path}: expected as many numbers for every gene, found: {error}") from error
    if table.ndim != 2 or table.shape[1] == 0:
        raise DataError(f"gene prior {path}: expected a list of numbers for every gene, found {table.shape}")
    return list(found), table


def _some(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
