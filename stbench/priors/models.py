"""Gene foundation models by name, each as a function from a slide's counts to vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from stbench.errors import SettingError, UnknownNameError
from stbench.features.weights import weight_file
from stbench.priors.identifiers import check_mapped, read_symbol_table, to_ensembl

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Kind = Literal["gene", "spot"]

MODELS: dict[str, Kind] = {"geneformer": "gene", "scgpt": "gene", "cellplm": "spot"}
"""Name to what a model gives: a vector per spot and panel gene, or one per spot."""


@dataclass(frozen=True)
class ModelOptions:
    """What the user chooses of a model.

    Args:
        weights: folder of the checkpoint.
        dictionaries: folder of Geneformer's dictionaries; the one of the checkpoint when None.
        symbols: table of symbols and Ensembl ids, asked after the model's own.
        layer: of Geneformer.
        include_zero: whether scGPT sees genes without counts.
        least_known: share of the panel a model must know.
    """

    weights: Path
    dictionaries: Path | None = None
    symbols: Path | None = None
    layer: Literal["last", "penultimate"] = "last"
    include_zero: bool = True
    least_known: float = 0.5


@dataclass(frozen=True)
class GeneModel:
    """A model ready for a panel.

    Args:
        name: of the model.
        kind: one vector per panel gene of a spot, or one per spot.
        dim: width of a vector.
        known: (G,) whether each panel gene can have a vector.
        ambiguous: symbol to the several ids a table gives it.
        panel_alone: whether it can read no other genes than the panel's.
        embed: maps (n_spots, n_genes) UMI, the names of its columns, and of its spots to vectors and mask.
        whole_slide: whether a spot's vector depends on the others of its slide, so that they must come together.
    """

    name: str
    kind: Kind
    dim: int
    known: BoolArray
    embed: Callable[[csr_matrix, Sequence[str], Sequence[str]], tuple[FloatArray, BoolArray]]
    whole_slide: bool = False
    ambiguous: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    panel_alone: bool = False


def load_model(name: str, options: ModelOptions, panel: Sequence[str], device: str = "cpu") -> GeneModel:
    """A model with local weights.

    Args:
        name: key of :data:`MODELS`.
        options: files and switches.
        panel: genes in panel order.
        device: torch device.

    Raises:
        UnknownNameError: no such model.
        SettingError: the folder of weights is none.
        DataError: a file is absent, damaged or does not fit, or the model knows too little of the panel.
    """
    loaders: dict[str, Callable[..., GeneModel]] = {
        "geneformer": _geneformer,
        "scgpt": _scgpt,
        "cellplm": _cellplm,
    }
    if name not in loaders:
        raise UnknownNameError("gene model", name, loaders)
    if not options.weights.is_dir():
        raise SettingError(
            f"expected the folder of a {name} checkpoint, found {options.weights}; give --weights FOLDER"
        )
    model = loaders[name](options, list(panel), device)
    check_mapped(model.known.tolist(), panel, name, options.least_known)
    return model


def checkpoint_of(name: str, folder: Path) -> Path:
    """The file of weights that a model of :data:`MODELS` reads in a folder; raises DataError where there is none."""
    from stbench.priors import cellplm, scgpt

    finders: dict[str, Callable[[Path], Path]] = {
        "geneformer": weight_file,
        "scgpt": scgpt.checkpoint,
        "cellplm": cellplm.checkpoint,
    }
    return finders[name](folder)


def _user_table(options: ModelOptions) -> Mapping[str, Sequence[str]]:
    return {} if options.symbols is None else read_symbol_table(options.symbols)


def _geneformer(options: ModelOptions, panel: list[str], device: str) -> GeneModel:
    from stbench.priors import geneformer as gf

    module = gf.load_geneformer(options.weights).to(device)
    vocabulary = gf.read_vocabulary(options.dictionaries or options.weights, module.words.num_embeddings)
    tables = ({symbol: [id_] for symbol, id_ in vocabulary.symbols.items()}, _user_table(options))
    mapped = to_ensembl(panel, *tables)
    tokens = np.array([_token(id_, vocabulary) for id_ in mapped.ids])

    def embed(counts: csr_matrix, genes: Sequence[str], spots: Sequence[str]) -> tuple[FloatArray, BoolArray]:
        ids = to_ensembl(genes, *tables).ids
        sequences = gf.tokenize(counts.toarray(), ids, vocabulary, module.positions.num_embeddings)
        return gf.embed(module, sequences, tokens, vocabulary, options.layer)

    dim = module.words.embedding_dim
    return GeneModel("geneformer", "gene", dim, tokens >= 0, embed, ambiguous=mapped.ambiguous)


def _token(ensembl_id: str | None, vocabulary: Any) -> int:
    if ensembl_id is None or not vocabulary.knows(ensembl_id):
        return -1
    return int(vocabulary.tokens[vocabulary.current(ensembl_id)])


def _scgpt(options: ModelOptions, panel: list[str], device: str) -> GeneModel:
    from stbench.priors import scgpt

    model = scgpt.load_scgpt(options.weights)
    model.module.to(device)
    known = np.array([gene in model.vocabulary for gene in panel])

    def embed(counts: csr_matrix, genes: Sequence[str], spots: Sequence[str]) -> tuple[FloatArray, BoolArray]:
        # the panel alone: values are binned against the genes shown, and the paper shows it the panel
        place = {gene: column for column, gene in enumerate(genes)}
        shown = counts[:, [place[gene] for gene in panel]].toarray()
        return scgpt.embed(model, shown, panel, include_zero=options.include_zero, spots=spots)

    return GeneModel("scgpt", "gene", model.config.sizes.width, known, embed, panel_alone=True)


def _cellplm(options: ModelOptions, panel: list[str], device: str) -> GeneModel:
    from stbench.priors import cellplm

    model = cellplm.load_cellplm(options.weights)
    model.module.to(device)
    table = _user_table(options)
    mapped = to_ensembl(panel, table)
    names = set(model.config.genes)
    known = np.array([id_ in names for id_ in mapped.ids])

    def embed(counts: csr_matrix, genes: Sequence[str], spots: Sequence[str]) -> tuple[FloatArray, BoolArray]:
        return cellplm.embed(model, counts.toarray(), to_ensembl(genes, table).ids)

    return GeneModel("cellplm", "spot", model.config.latent, known, embed, True, mapped.ambiguous)
