"""Whether slides name their genes alike."""

import pytest

from stbench.data.shared_genes import SharedGenes
from stbench.errors import DataError

from .test_gene_names import slide

SYMBOLS = [f"GEN{i}" for i in range(20)]
IDS = [f"ENSG{i:011d}" for i in range(20)]


def shared(**genes):
    found = SharedGenes()
    for id_, names in genes.items():
        found.add(slide(names, id_))
    return found


def test_slides_that_name_genes_alike_are_not_spoken_of():
    panel = shared(A=SYMBOLS, B=SYMBOLS[:6], C=[*SYMBOLS[5:], "OTHER"])
    assert panel.notes() == []
    panel.check(0, 5)


@pytest.mark.parametrize("odd", ["A", "B", "D"])
def test_the_slide_with_other_names_is_named(odd):
    genes = dict.fromkeys("ABCD", SYMBOLS) | {odd: IDS}
    (note,) = shared(**genes).notes()
    assert note.startswith(f"{odd}: 0 of 20 gene names shared with ")
    assert note.endswith("as these are Ensembl ids (symbols may stand in var['gene_name']), those symbols")


def test_two_slides_against_two():
    (note,) = shared(A=SYMBOLS, B=IDS, C=SYMBOLS, D=IDS).notes()
    assert note.startswith("B, D: 0 of 20 gene names shared with A, C, as these are Ensembl ids")


def test_versions_genomes_and_case_are_recognised():
    (note,) = shared(A=IDS, B=[f"{gene}.1" for gene in IDS], C=IDS).notes()
    assert note.endswith(
        "as these are Ensembl ids with version (symbols may stand in var['gene_name']), those Ensembl ids"
    )
    (note,) = shared(A=SYMBOLS, B=[gene.lower() for gene in SYMBOLS], C=SYMBOLS).notes()
    assert note.endswith("they differ in case, version or hyphens")
    (note,) = shared(A=SYMBOLS, B=[f"GRCh38_{gene}" for gene in SYMBOLS], C=SYMBOLS).notes()
    assert note.endswith("as these are symbols with a genome before them, those symbols")


def test_a_panel_that_is_not_possible_names_the_slide():
    odd = shared(A=SYMBOLS, B=[*IDS, *SYMBOLS[:3]], C=SYMBOLS)
    odd.check(3, 3)
    with pytest.raises(DataError, match=r"expected 4 genes that all slides name, found 3: B: 3 of 23 .* leave it out"):
        odd.check(3, 4)
