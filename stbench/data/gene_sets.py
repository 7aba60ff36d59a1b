"""Gene sets from files, as MSigDB gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stbench.errors import DataError
from stbench.reading import UNREADABLE, check_table, opened, read_json
from stbench.text import one_line

_SYMBOLS = "geneSymbols"  # MSigDB: the key of a set's genes


def read_gene_sets(path: Path) -> dict[str, list[str]]:
    """Genes of every set by its name.

    Read are GMT (a set per line: name, description and genes, separated by tabs; gzipped where the name ends in .gz)
    and JSON: ``{name: [genes]}``, or ``{name: {"geneSymbols": [genes]}}`` as MSigDB writes it.

    Args:
        path: the file; JSON where its name ends in .json or .json.gz, else GMT.

    Raises:
        DataError: no file, damaged, no set, a set without genes or twice.
    """
    try:
        is_json = path.name.lower().removesuffix(".gz").endswith(".json")
        found = _of_json(read_json(path, strict=True)) if is_json else _of_gmt(path)
    except UNREADABLE as error:
        raise DataError(f"{path}: expected gene sets, found: {one_line(str(error))}; obtain the file again") from error
    if not found:
        raise DataError(f"{path}: expected gene sets (GMT, or JSON that names lists of genes), found none")
    if empty := [name for name, genes in found.items() if not genes]:
        raise DataError(f"{path}: expected genes in every set, found none in {empty[0]}; remove the set")
    return found


def _of_json(content: Any) -> dict[str, list[str]]:
    if not isinstance(content, dict):
        raise ValueError(f"{type(content).__name__} in place of names of sets")
    sets: dict[str, Any] = {
        name: value.get(_SYMBOLS) if isinstance(value, dict) else value for name, value in content.items()
    }
    for name, genes in sets.items():
        if not isinstance(genes, list) or not all(isinstance(gene, str) for gene in genes):
            raise ValueError(f"set {name} without a list of gene names")
    return {name: [gene.strip() for gene in genes if gene.strip()] for name, genes in sets.items()}


def _of_gmt(path: Path) -> dict[str, list[str]]:
    check_table(path)
    with opened(path) as file:
        lines = file.read().decode("utf-8-sig").splitlines()
    found: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, *rest = (cell.strip() for cell in line.split("\t"))
        if not name or not rest:
            raise ValueError(f"line {number} without tabs between name, description and genes")
        if name in found:
            raise ValueError(f"set {name} twice, again in line {number}")
        found[name] = [gene for gene in rest[1:] if gene]
    return found
