"""The panel of cohorts whose genes have other names than symbols."""

import pytest

from stbench.errors import DataError
from stbench.evaluation.build import build_task
from stbench.evaluation.task import TaskSettings
from stbench.reporting import Silent

from .conftest import GENES, make_cohort, make_slide

SETTINGS = TaskSettings(genes=5, encoder="mean-rgb", split="slide")
IDS = [f"ENSG{i:011d}" for i in range(len(GENES))]
LOUD = 8  # genes that rank first, by place: the last ones of a tiny slide


class Told(Silent):
    def __init__(self):
        self.lines = []

    def info(self, message):
        self.lines.append(message)


def panel_of(card, rename=lambda genes: genes, symbols=None, odd=(), told=None):
    """The panel of a cohort whose gene names are changed, on the slides of ``odd`` alone where some are given."""
    slides = [make_slide(f"P{p}-s{s}", f"P{p}") for p in range(4) for s in range(2)]
    for slide in slides:
        if not odd or slide.id in odd:
            slide.adata.var_names = rename(GENES)
            if symbols is not None:
                slide.adata.var["gene_name"] = symbols
    facts = build_task(make_cohort(slides), card, SETTINGS, reporter=told or Silent()).facts
    return facts.genes


def test_a_genome_before_names_hides_no_mitochondrial_gene(card):
    names = [*GENES[:LOUD], "MT-CO1", "MT-ND1", "RPL13", "RPS6"]
    plain = panel_of(card, lambda _: names)
    assert not set(plain) & set(names[LOUD:])
    prefixed = panel_of(card, lambda _: [f"GRCh38______{name}" for name in names])
    assert prefixed == [f"GRCh38______{name}" for name in plain]


def test_symbols_beside_ids_decide(card):
    symbols = [*GENES[:LOUD], "MT-CO1", "MT-ND1", "RPL13", "RPS6"]
    told = Told()
    found = panel_of(card, lambda _: IDS, symbols, told=told)
    assert len(found) == 5
    assert not set(found) & set(IDS[LOUD:])
    assert told.lines == []


def test_symbols_on_one_slide_are_enough(card):
    symbols = [*GENES[:-1], "MT-CO1"]
    assert GENES[-1] in panel_of(card)
    assert GENES[-1] not in panel_of(card, symbols=symbols, odd=["P3-s1"])


def test_ids_without_symbols_are_said(card):
    told = Told()
    panel_of(card, lambda _: IDS, told=told)
    (line,) = told.lines
    assert line.startswith("note: all 8 slides: 12 of 12 gene names are ids without a symbol")


def test_the_slide_with_other_names_is_said_and_refused(card):
    told = Told()
    with pytest.raises(
        DataError, match=r"found 0: P2-s1: 0 of 12 gene names shared with P0-s0, P0-s1, P1-s0 and 4 more"
    ):
        panel_of(card, lambda _: IDS, GENES, odd=["P2-s1"], told=told)
    assert any("note: P2-s1: 0 of 12 gene names shared" in line for line in told.lines)


def test_names_do_not_change_what_ranks(card):
    """The same counts under names that sort alike give the same columns."""
    assert [GENES.index(gene) for gene in panel_of(card)] == [
        int(gene.removeprefix("hg19_G")) for gene in panel_of(card, lambda genes: [f"hg19_{gene}" for gene in genes])
    ]
