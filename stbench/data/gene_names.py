"""What names of genes are: symbols, ids of a database, names with a genome before them, features that are no gene."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from stbench.data.slide import Slide

EXCLUDED_PREFIXES = ("MT-", "RPS", "RPL")
SYMBOLS = "gene_name"  # var: where symbols are looked for first, and where users are told to put them
_SYMBOL_COLUMNS = {SYMBOLS, "gene_symbol", "symbol", "feature_name", "gene_short_name", "external_gene_name"}
_SYMBOL_COLUMNS |= {"hgnc_symbol", "mgi_symbol", "gene", "name"}
_EXCLUDED = re.compile(r"MT[-.:]|RPS|RPL", re.IGNORECASE)  # R writes MT.CO1 for MT-CO1, FlyBase mt:CoI
_GENOME = re.compile(
    r"(?:GRC[a-z]\d+(?:\.p\d+)?|(?:hg|mm|rn|dm|ce|danRer|galGal|susScr|bosTau|canFam|sacCer|rheMac)\d+"
    r"|(?:T2T[-_]?)?CHM13(?:v[\d.]+)?|mRatBN[\d.]+|Rnor_?[\d.]+|human|mouse|homo_sapiens|mus_musculus)"
    r"(?:[-_]\d{4}[-_][A-Z])?[-_.:]+(?=\w)",
    re.IGNORECASE,
)
_ENSEMBL = r"ENS[A-Z]{0,6}[GTP]\d{6,}(?:\.\d+)?(?:_PAR_Y)?"
_BESIDE_ENSEMBL = re.compile(rf"{_ENSEMBL}[-_|:;./ (]+|[-_|:;./ (]+{_ENSEMBL}\)?$", re.IGNORECASE)
_VERSION = re.compile(r"(?<=\d{6})\.\d+")
_ID = re.compile(rf"{_ENSEMBL}|FBgn\d+|WBGene\d+|(?:entrez|geneid)?[-_:]?\d+|[NX][MRP]_\d+(?:\.\d+)?", re.IGNORECASE)
# As files of CosMx, MERSCOPE, Xenium, GeoMx, Visium and HTSeq name them, and spike-ins.
_CONTROL = re.compile(
    r".*(?:control|codeword)|blank(?:[-_ ]?\d+)?$|neg(?:ative)?[-_ ]?(?:prb|probe|ctrl)|negative[-_ ]?\d+$"
    r"|false[-_ ]?code|unassigned[-_ ]|deprecated[-_ ]|antisense[-_ ]|intergenic[-_ ]|ERCC-\d{5}|SIRV\d"
    r"|__(?:ambiguous|no_feature|not_aligned|too_low_aQual|alignment_not_unique)",
    re.IGNORECASE,
)
_KNOWN = 2**18  # names whose answer is remembered: slides of a cohort name the same genes


def _without_genome(name: str) -> str:
    return _GENOME.sub("", name.strip(), count=1) if _GENOME.match(name.strip()) else name.strip()


@lru_cache(_KNOWN)
def symbol_of(name: str) -> str:
    """What a name says of its gene, without a genome before it and without an Ensembl id beside a symbol.

    ``GRCh38______MT-CO1`` and ``ENSG00000198804.2_MT-CO1`` are ``MT-CO1``; an id alone is kept.
    """
    bare = _without_genome(name)
    return bare if _ID.fullmatch(bare) else _BESIDE_ENSEMBL.sub("", bare, count=1)


@lru_cache(_KNOWN)
def is_id(name: str) -> bool:
    """Whether a name is an id of a database (Ensembl, Entrez, RefSeq, FlyBase, WormBase), in contrast to a symbol."""
    return _ID.fullmatch(symbol_of(name)) is not None


@lru_cache(_KNOWN)
def normalised(name: str) -> str:
    """A name for comparison: without genome, version of an id and case; a dot, which R writes, is a hyphen."""
    symbol = symbol_of(name)
    return (_VERSION.sub("", symbol) if is_id(name) else symbol.replace(".", "-")).upper()


@lru_cache(_KNOWN)
def is_excluded(name: str) -> bool:
    """Whether a gene is mitochondrial or ribosomal by its name (``MT-``, ``RPS``, ``RPL``; any case, any genome)."""
    return _EXCLUDED.match(symbol_of(name)) is not None


@lru_cache(_KNOWN)
def is_control(name: str) -> bool:
    """Whether a feature is no gene: a control, blank or deprecated probe, a code without gene, a spike-in."""
    return _CONTROL.match(_without_genome(name)) is not None


@lru_cache(_KNOWN)
def kind_of(name: str) -> str:
    """What a name is, in words: ``symbols``, ``Ensembl ids``, either of them with a version or a genome."""
    kind = "symbols"
    if is_id(name):
        kind = "Ensembl ids" if symbol_of(name).upper().startswith("ENS") else "ids of a database"
        kind += " with version" if _VERSION.search(name) else ""
    return kind if _GENOME.match(name.strip()) is None else f"{kind} with a genome before them"


def main_kind(genes: Sequence[str]) -> str:
    """What most names are, in words."""
    kinds = [kind_of(gene) for gene in genes]
    return max(sorted(set(kinds)), key=kinds.count, default="no names")


def symbols_beside(slide: Slide) -> Iterator[list[str]]:
    """Columns of var that hold symbols, (n_genes,) texts each; empty where a gene has none."""
    for column in slide.adata.var.columns:
        if re.sub(r"\W", "_", str(column).strip().lower()).removesuffix("s") in _SYMBOL_COLUMNS:
            values = slide.adata.var[column].astype(object)
            yield ["" if is_id(text) else text for text in values.where(values.notna(), "").astype(str)]


def excluded_genes(slide: Slide) -> set[str]:
    """Mitochondrial and ribosomal genes of a slide, told by their names or by the symbols beside these."""
    genes = slide.genes
    columns = (genes, *symbols_beside(slide))
    return {gene for names in columns for gene, name in zip(genes, names, strict=True) if is_excluded(name)}


def without_symbol(slide: Slide) -> int:
    """How many genes have an id for a name and no symbol beside it: whether they are mitochondrial is not told."""
    known = [any(names) for names in zip(*symbols_beside(slide), strict=True)] or [False] * len(slide.genes)
    return sum(is_id(gene) and not beside for gene, beside in zip(slide.genes, known, strict=True))
