"""Gene symbols to Ensembl ids, from files alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stbench.errors import DataError
from stbench.reading import check_table
from stbench.text import first_line

_ENSEMBL = re.compile(r"^ENS[A-Z]*G\d{11}", re.IGNORECASE)
_LISTED = 5


@dataclass(frozen=True)
class Mapped:
    """Identifiers of genes.

    Args:
        ids: one per gene asked for, None where unknown or ambiguous.
        ambiguous: symbol to the several ids a table gives it.
    """

    ids: tuple[str | None, ...]
    ambiguous: Mapping[str, tuple[str, ...]]


def to_ensembl(genes: Sequence[str], *tables: Mapping[str, Sequence[str]]) -> Mapped:
    """Ensembl ids without version, upper case.

    A gene that is an Ensembl id already keeps it; else the first table that knows the symbol decides. A symbol with
    several ids in that table is ambiguous and has none.

    Args:
        genes: symbols or ids.
        tables: symbol to its ids, in the order they are asked.
    """
    ids: list[str | None] = []
    ambiguous: dict[str, tuple[str, ...]] = {}
    for gene in genes:
        found = _ids(gene, tables)
        if len(found) > 1:
            ambiguous[gene] = found
        ids.append(found[0] if len(found) == 1 else None)
    return Mapped(tuple(ids), ambiguous)


def _ids(gene: str, tables: Sequence[Mapping[str, Sequence[str]]]) -> tuple[str, ...]:
    if _ENSEMBL.match(gene):
        return (without_version(gene),)
    for table in tables:
        if gene in table:
            return tuple(dict.fromkeys(without_version(id_) for id_ in table[gene]))
    return ()


def without_version(ensembl_id: str) -> str:
    """``ensg00000141510.18`` becomes ``ENSG00000141510``."""
    return ensembl_id.partition(".")[0].upper()


def read_symbol_table(path: Path) -> dict[str, list[str]]:
    """A table of the user's: symbol and Ensembl id in the first two columns of a ``.csv`` or ``.tsv`` with a header.

    Raises:
        DataError: absent, no such table, or an id that is none.
    """
    separator = "\t" if path.suffix == ".tsv" else ","
    try:
        check_table(path)
        frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise DataError(f"symbol table {path}: expected columns symbol and ensembl, found: {reason}") from error
    if frame.shape[1] < 2 or frame.empty:
        raise DataError(f"symbol table {path}: expected columns symbol and ensembl, found {frame.shape[1]} columns")
    table: defaultdict[str, list[str]] = defaultdict(list)
    for symbol, ensembl_id in zip(frame.iloc[:, 0], frame.iloc[:, 1], strict=True):
        if not _ENSEMBL.match(ensembl_id):
            raise DataError(f"symbol table {path}: expected Ensembl ids, found {ensembl_id!r} for {symbol!r}")
        table[str(symbol)].append(str(ensembl_id))
    return dict(table)


def check_mapped(known: Sequence[bool], genes: Sequence[str], model: str, least: float = 0.5) -> None:
    """Refuse a model that knows too little of the panel.

    Args:
        known: whether the model has a token for each gene.
        genes: the panel.
        model: its name, for the message.
        least: smallest share that must be known.

    Raises:
        DataError: fewer are known; lists some that are not.
    """
    unknown = [gene for gene, is_known in zip(genes, known, strict=True) if not is_known]
    if len(genes) - len(unknown) < max(1, least * len(genes)):
        some = ", ".join(unknown[:_LISTED]) + (", ..." if len(unknown) > _LISTED else "")
        raise DataError(
            f"{model}: expected a token for at least {least:.0%} of {len(genes)} panel genes, found "
            f"{len(genes) - len(unknown)}; unknown: {some}; check that the files use these identifiers, "
            "or give a symbol table"
        )
