"""What names of genes are."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from stbench.data.gene_names import (
    excluded_genes,
    is_control,
    is_excluded,
    is_id,
    main_kind,
    normalised,
    symbol_of,
    without_symbol,
)
from stbench.data.slide import Slide

CO1 = "ENSG00000198804"


def slide(genes, id_="S1", **var):
    """One spot per slide; ``var`` are columns beside the names."""
    counts = csr_matrix(np.ones((1, len(genes)), dtype=np.int32))
    adata = AnnData(counts, obs=pd.DataFrame({"total_counts": [1.0]}, index=["a"]), var=pd.DataFrame(var, index=genes))
    return Slide(id_, None, adata)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "MT-CO1",
            "mt-Co1",
            "MT.CO1",
            "mt:CoI",
            "GRCh38_MT-CO1",
            "GRCh38______MT-CO1",
            "hg19_MT-CO1",
            "GRCh38-MT-CO1",
        ),
        *("mm10___mt-Co1", "GRCm39_mt-Co1", "GRCh38-2020-A_MT-CO1", "human_MT-CO1", f"{CO1}_MT-CO1", f"MT-CO1_{CO1}"),
        *(f"MT-CO1|{CO1}.2", f"{CO1}.2|MT-CO1", f"MT-CO1 ({CO1})", f"GRCh38_{CO1}_MT-CO1"),
        *("RPS11", "Rpl13", "hg38_RPL13", "GRCh38.p14_RPS11", "CHM13v2.0_RPS11"),
    ],
)
def test_mitochondrial_and_ribosomal_genes_are_known_by_any_name(name):
    assert is_excluded(name)
    assert not is_id(name)


@pytest.mark.parametrize("name", ["MTOR", "MTRNR2L8", "RPN1", "MRPL13", "GRCh38_MTOR", "HGF", "mm10___Mtor", "MM1"])
def test_other_genes_are_candidates(name):
    assert not is_excluded(name)


def test_ids_are_told_from_symbols():
    assert all(
        map(is_id, (CO1, f"{CO1}.12", "ENSMUSG00000064351", f"GRCh38_{CO1}", "4512", "NM_000546.6", "FBgn0013674"))
    )
    assert not any(map(is_id, ("ENSA", "ACTB", "7SK", "RP11-34P13.7", "AC000123.1", "H2-K1", "1700019D03Rik")))


def test_the_symbol_in_a_name():
    named = {"GRCh38_ACTB": "ACTB", f"{CO1}_MT-CO1": "MT-CO1", CO1: CO1, f"{CO1}.12": f"{CO1}.12", "HLA-A": "HLA-A"}
    assert {name: symbol_of(name) for name in named} == named


def test_names_that_mean_one_gene_are_equal_when_normalised():
    assert len({normalised(name) for name in ("HLA-A", "HLA.A", "hla-a", "GRCh38_HLA-A")}) == 1
    assert len({normalised(name) for name in (CO1, f"{CO1}.2", f"GRCh38_{CO1}.3", CO1.lower())}) == 1
    assert normalised("RP11-34P13.7") != normalised("RP11-34P13.8")


@pytest.mark.parametrize(
    "name",
    [
        *("NegControlProbe_1", "NegControlCodeword_5", "NegPrb4", "NegProbe-WTX", "Negative3", "SystemControl1"),
        *("BLANK_0002", "Blank-4", "blank12", "UnassignedCodeword_0003", "DeprecatedCodeword_1", "FalseCode3"),
        *("antisense_X", "Intergenic_Region_2", "GenomicControl3", "DEPRECATED_ENSG00000198804", "ERCC-00002"),
        *("__ambiguous[ACTB+GAPDH]", "__no_feature", "GRCh38_NegControlProbe_1"),
    ],
)
def test_controls_are_no_genes(name):
    assert is_control(name)


@pytest.mark.parametrize("name", ["NEGR1", "ERCC1", "NEAT1", "BLNK", "DEPDC1", "FALEC", "SIRT1", "BLACE", "INTS1", CO1])
def test_genes_are_no_controls(name):
    assert not is_control(name)


@pytest.mark.parametrize("column", ["gene_name", "gene_symbols", "Symbol", "feature_name", "gene-name", "name"])
def test_symbols_beside_ids_are_looked_at(column):
    made = slide([CO1, "ENSG00000142534", "ENSG00000000003"], **{column: ["MT-CO1", "RPS11", None]})
    assert excluded_genes(made) == {CO1, "ENSG00000142534"}
    assert without_symbol(made) == 1


def test_a_column_of_ids_is_no_column_of_symbols():
    assert without_symbol(slide([CO1, "ACTB"], gene_name=[f"{CO1}.1", "ENSG00000075624"])) == 1
    assert without_symbol(slide([CO1, "ACTB"], strand=["MT-CO1", "ACTB"])) == 1


def test_what_most_names_are():
    assert main_kind(["ACTB", "GAPDH", CO1]) == "symbols"
    assert main_kind([CO1, f"{CO1}.2", f"{CO1}.3"]) == "Ensembl ids with version"
    assert main_kind(["GRCh38_ACTB", "GRCh38_GAPDH"]) == "symbols with a genome before them"
    assert main_kind(["4512", "4513"]) == "ids of a database"
    assert main_kind([]) == "no names"
