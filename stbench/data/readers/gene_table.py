"""Symbols of genes from a table that lies beside counts with ids."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from stbench.data.gene_names import is_id, normalised
from stbench.data.readers.counts import check_columns
from stbench.data.readers.layout import text_or_none
from stbench.data.readers.positions import spelling
from stbench.errors import DataError
from stbench.text import one_line

GENES = "genes.tsv"
_COLUMNS = ("gene_id", "gene_name")


def read_gene_table(path: Path) -> dict[str, str]:
    """Symbols by id, with and without the version of an id; what has no symbol is left out.

    Args:
        path: table with the columns ``gene_id`` and ``gene_name``, separated by tabs, commas or semicolons.

    Raises:
        DataError: damaged, missing columns, a number in place of a symbol, or an id with two symbols.
    """
    import pandas as pd

    try:
        encoding, separator, _ = spelling(path)
        table = pd.read_csv(path, sep=separator, encoding=encoding, dtype=str, keep_default_na=False)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(
            f"{path}: expected a table of genes, found: {one_line(str(error))}; obtain the file again, or remove it "
            "to call genes by what the counts call them"
        ) from error
    check_columns(table, _COLUMNS, str(path))
    found: dict[str, str] = {}
    for row, (id_, said) in enumerate(table[list(_COLUMNS)].to_numpy(), start=1):
        id_, name = str(id_).strip(), text_or_none(said)
        if not id_ or name is None or is_id(name):
            continue
        if _is_number(name):
            raise DataError(f"{path}, row {row}: expected a symbol of {id_}, found the number {name}; correct it")
        if found.setdefault(id_, name) != name:
            raise DataError(
                f"{path}, row {row}: expected one symbol of every id, found {found[id_]} and {name} of {id_}; "
                "remove one of the rows"
            )
    return {**{normalised(id_): name for id_, name in reversed(found.items())}, **found}


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def symbols_of(genes: Sequence[str], table: Mapping[str, str]) -> list[str]:
    """The symbol of every gene: by its whole name first, then without the version of an id; else its own name."""
    return [table.get(gene) or table.get(normalised(gene)) or gene for gene in genes]
