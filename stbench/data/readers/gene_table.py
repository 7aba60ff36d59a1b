"""Tables of genes: symbols by id, and today's symbols by older ones."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stbench.data.gene_names import is_id, normalised
from stbench.data.readers.layout import text_or_none
from stbench.data.readers.positions import spelling
from stbench.errors import DataError
from stbench.text import listed, one_line

if TYPE_CHECKING:
    import pandas as pd

GENES = "genes.tsv"
# By what GENCODE, Ensembl, scanpy and HGNC's complete set call their columns.
_IDS = ("gene_id", "ensembl_gene_id", "ensembl_id", "gene_ids", "ensembl")
_SYMBOLS = ("gene_name", "symbol", "gene_symbol", "approved_symbol")
_OLDER = (("prev_symbol", "previous_symbol", "previous_symbols"), ("alias_symbol", "alias", "alias_symbols"))
_SEVERAL = "|"  # between the older symbols of one gene


def read_gene_table(path: Path) -> dict[str, str]:
    """Symbols by id, with and without the version of an id, and by older symbols; what has no symbol is left out.

    An older symbol that is somebody's symbol today, or was that of two genes, names nothing.

    Args:
        path: table, separated by tabs, commas or semicolons, of symbols (``gene_name``, ``symbol``) beside ids
            (``gene_id``, ``ensembl_gene_id``) or older symbols (``prev_symbol``, ``alias_symbol``; several with ``|``
            between); HGNC's complete set is one.

    Raises:
        DataError: damaged, missing columns, a number in place of a symbol, or an id with two symbols.
    """
    table = _read(path)
    ids, symbols, *older = (_column(table, names) for names in (_IDS, _SYMBOLS, *_OLDER))
    if symbols is None or (ids is None and not any(older)):
        raise DataError(
            f"{path}: expected a column {_SYMBOLS[0]} or {_SYMBOLS[1]} beside {_IDS[0]}, {_OLDER[0][0]} or "
            f"{_OLDER[1][0]}, found {listed(list(table.columns)[:8])}; name the columns so"
        )
    found: dict[str, str] = {}
    for names in older:
        known = _older(zip(names or [], symbols, strict=bool(names)), set(symbols))
        found = {**known, **found}
    return {**found, **_by_id(list(zip(ids or [], symbols, strict=bool(ids))), path, strict=not any(older))}


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        encoding, separator, _ = spelling(path)
        table = pd.read_csv(path, sep=separator, encoding=encoding, dtype=str, keep_default_na=False)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(
            f"{path}: expected a table of genes, found: {one_line(str(error))}; obtain the file again, or remove it "
            "to call genes by what the counts call them"
        ) from error
    return table.set_axis([str(name).strip().strip('"').lower().replace(" ", "_") for name in table.columns], axis=1)


def _column(table: pd.DataFrame, names: Sequence[str]) -> list[str] | None:
    """Texts of the first column of these names, empty where a row says nothing; None where there is no such column."""
    there = next((name for name in names if name in table.columns), None)
    return None if there is None else [text_or_none(text) or "" for text in table[there]]


def _by_id(pairs: Sequence[tuple[str, str]], path: Path, *, strict: bool) -> dict[str, str]:
    """Symbols by id; of an id with two, none where the table is one of all genes, in which that happens."""
    found: dict[str, str] = {}
    for row, (id_, name) in enumerate(pairs):
        if not id_ or not name or is_id(name):
            continue
        if _is_number(name):
            raise DataError(f"{path}, row {row + 1}: expected a symbol of {id_}, found the number {name}; correct it")
        if found.setdefault(id_, name) == name:
            continue
        if strict:
            raise DataError(
                f"{path}, row {row + 1}: expected one symbol of every id, found {found[id_]} and {name} of {id_}; "
                "remove one of the rows"
            )
        found[id_] = ""
    known = {id_: name for id_, name in found.items() if name}
    return {**{normalised(id_): name for id_, name in reversed(known.items())}, **known}


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _older(pairs: Iterable[tuple[str, str]], today: set[str]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for names, symbol in pairs:
        for name in names.split(_SEVERAL):
            if (old := name.strip()) and symbol and old not in today:
                found.setdefault(old, set()).add(symbol)
    return {old: symbols.pop() for old, symbols in found.items() if len(symbols) == 1}


def symbols_of(genes: Sequence[str], table: Mapping[str, str]) -> list[str]:
    """The symbol of every gene: by its whole name first, then without the version of an id; else its own name."""
    return [table.get(gene) or (table.get(normalised(gene)) if is_id(gene) else None) or gene for gene in genes]
