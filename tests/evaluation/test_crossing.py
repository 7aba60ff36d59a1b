"""A task whose test slides are of another cohort: its panel, its identity, and sections that have two names."""

from dataclasses import replace

import numpy as np
import pytest

from stbench.data.crossing import crossed, joined, split_across
from stbench.data.opening import open_dataset
from stbench.data.splits import leak_fraction
from stbench.errors import DataError, UserError
from stbench.evaluation.build import build_task
from stbench.evaluation.task import TaskSettings

from .conftest import GENES, make_cohort, make_slide, scrambled

SETTINGS = TaskSettings(genes=5, encoder="mean-rgb")


def theirs(genes=GENES, patient="P0", name="theirs"):
    return make_cohort([make_slide(f"T{i}", patient, genes) for i in range(2)], name)


@pytest.fixture
def across(slides, card):
    """Makes the task of training on eight slides and testing on others."""

    def make(other=None, settings=SETTINGS, ours=slides):
        return build_task(joined(make_cohort(ours), other or theirs()), card, settings)

    return make


def test_facts_say_who_trains_and_who_tests(across, slides):
    facts = across().facts
    assert (facts.dataset, facts.test_dataset) == ("tiny-to-theirs", "theirs")
    assert facts.test == ["theirs-T0", "theirs-T1"]
    assert sorted(facts.train + facts.validation) == [slide.id for slide in slides]
    assert (facts.leak_fraction, facts.patients["theirs-T0"]) == (0, "theirs-P0")
    assert across(theirs(patient="P0", name="tiny")).facts.leak_fraction == 1


def test_the_truth_is_that_of_the_other_cohort(across):
    task = across()
    (first, _), own = task.test, theirs().load("T0")
    columns = [own.genes.index(gene) for gene in task.facts.genes]
    assert (first.total_counts == own.total_counts).all()
    np.testing.assert_allclose(first.expression, np.log1p(own.counts.toarray()[:, columns]), rtol=1e-6)


def test_the_panel_is_chosen_before_genes_are_lost(across):
    """Whatever the test cohort names or counts, what is left is in the order of the training cohort's choice."""
    chosen = across().facts.genes
    gone = [chosen[0], chosen[3]]
    facts = across(theirs([gene for gene in reversed(GENES) if gene not in gone])).facts
    assert facts.genes == [gene for gene in chosen if gene not in gone]
    assert (facts.lacking, facts.n_genes) == (gone, 3)


def test_a_gene_that_one_test_slide_lacks_is_lost(across):
    chosen = across().facts.genes
    some = [make_slide("T0", "T"), make_slide("T1", "T", [gene for gene in GENES if gene != chosen[1]])]
    assert across(make_cohort(some, "theirs")).facts.lacking == [chosen[1]]


def test_counts_that_test_do_not_move_the_panel(across):
    other = make_cohort([scrambled(make_slide(f"T{i}", "T")) for i in range(2)], "theirs")
    assert across(other).facts.genes == across().facts.genes


@pytest.mark.parametrize("n_left", [0, 1])
def test_a_cohort_that_names_too_few_genes_of_the_panel(across, n_left):
    left = across().facts.genes[:n_left]
    said = f"--test-dataset theirs: expected at least 2 genes of the panel among its genes, found {n_left} of 5"
    with pytest.raises(UserError, match=said):
        across(theirs(["Q1", "Q2", *left]))


def test_the_cohort_that_tests_is_part_of_the_identity(across):
    first, again, other = across().facts, across().facts, across(theirs(name="others")).facts
    assert (first.hash, first.protocol_hash) == (again.hash, again.protocol_hash)
    assert first.hash != other.hash
    assert first.protocol_hash != other.protocol_hash


def test_a_section_that_trains_cannot_test_under_another_name(across, slides):
    part, moved = np.arange(5, 12), np.random.default_rng(0).permutation(16)
    for twin in (slides[0].take(part), slides[0].take(moved)):
        with pytest.raises(DataError, match=r"test slide theirs-T: .* found the counts of P0-s0, which"):
            across(make_cohort([replace(twin, id="T")], "theirs"))
    with pytest.raises(DataError, match="found the counts of P0-s0"):  # the smaller one trains
        across(make_cohort([replace(slides[0], id="T")], "theirs"), ours=[slides[0].take(part), *slides[1:]])


def test_training_slides_without_spots(card, slides, settings):
    empty = [slide.take(np.zeros(16, dtype=bool)) for slide in slides]
    with pytest.raises(DataError, match="expected training slides with spots, found none on P0-s0, P0-s1, P1-s0"):
        build_task(make_cohort([*empty[:4], *slides[4:]]), card, settings)


@pytest.mark.real
def test_the_study_in_two_layouts_shares_its_patients_and_its_sections(real_data):
    name, test_name = "her2st", str(real_data / "hest_mini")
    cohort, card = open_dataset(name, real_data)
    found = crossed(cohort, card, name, test_name, real_data)
    split = split_across(found, "slide", 0)
    assert leak_fraction(split, found.refs) == 1
    with pytest.raises(DataError, match=r"test slide hest_mini-SPA138: .* found the counts of C5"):
        build_task(found, card, replace(SETTINGS, genes=50))
