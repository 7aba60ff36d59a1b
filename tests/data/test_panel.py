"""Gene panels."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from stbench.catalogue import DatasetCard
from stbench.data.opening import open_folder
from stbench.data.panel import Moments, candidate_genes, hmhvg
from stbench.errors import SettingError
from stbench.evaluation.build import build_task
from stbench.evaluation.task import TaskSettings

from .layouts import write_her2st

RNG = np.random.default_rng(0)


def naive(mean, std, n_genes):
    """The paper's rule as written: the smallest K whose intersection is large enough, cut by the rank of the mean."""
    by_mean, by_std = np.argsort(-mean, kind="stable"), np.argsort(-std, kind="stable")
    chosen = []
    for k in range(1, len(mean) + 1):
        new = (set(by_mean[:k]) & set(by_std[:k])) - set(chosen)
        chosen += sorted(new, key=lambda gene: int(np.flatnonzero(by_mean == gene)[0]))
        if len(chosen) >= n_genes:
            break
    return chosen[:n_genes]


@pytest.mark.parametrize("n_genes", [2, 3, 17, 50, 99, 100])
def test_exactly_as_many_as_asked_for_by_the_papers_rule(n_genes):
    mean, std = RNG.gamma(1, 2, 100), RNG.gamma(1, 2, 100)
    assert hmhvg(mean, std, n_genes).tolist() == naive(mean, std, n_genes)


def test_panels_are_nested():
    mean, std = RNG.gamma(1, 2, 60), RNG.gamma(1, 2, 60)
    np.testing.assert_array_equal(hmhvg(mean, std, 40)[:20], hmhvg(mean, std, 20))


def test_ties_go_to_the_rank_of_the_mean_then_to_the_order_given():
    assert hmhvg(np.array([1.0, 3.0, 2.0]), np.array([3.0, 1.0, 2.0]), 3).tolist() == [2, 1, 0]
    assert hmhvg(np.ones(5), np.ones(5), 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("n_genes", "said"), [(1, "at least 2 genes"), (0, "at least 2"), (6, "at most 5 genes .* found --genes 6")]
)
def test_sizes_that_are_not_possible(n_genes, said):
    with pytest.raises(SettingError, match=said):
        hmhvg(np.ones(5), np.ones(5), n_genes)


def test_candidates_leave_out_mitochondrial_and_ribosomal_genes():
    genes = ["RPS4X", "ACTB", "MT-CO1", "mt-Nd1", "Rpl3", "MTOR", "RPN1", "AKT1"]
    assert candidate_genes(genes) == ["ACTB", "AKT1", "MTOR", "RPN1"]


def test_moments_equal_those_of_all_spots_at_once():
    counts = RNG.poisson([0, 1, 5, 300], (90, 4)).astype(np.int32)
    moments = Moments(list("abcd"))
    for part in np.array_split(counts, 4):
        moments.update(csr_matrix(part))
    np.testing.assert_allclose(moments.mean, counts.mean(axis=0))
    np.testing.assert_allclose(moments.std, counts.std(axis=0), atol=1e-9)


def test_moments_do_not_overflow():
    moments = Moments(["a"])
    moments.update(csr_matrix(np.full((2, 1), 2_000_000_000, dtype=np.int32)))
    assert (moments.mean[0], moments.std[0]) == (2e9, 0)


def test_moments_of_nothing_are_zero():
    assert Moments(["a"]).mean.tolist() == [0]


def test_panel_is_chosen_on_training_slides_alone(tmp_path):
    """Counts of test and validation slides change nothing; those of a training slide do."""
    genes = [f"G{i}" for i in range(30)]
    for i in range(4):
        counts = np.random.default_rng(i).poisson(np.arange(30) % 7, (6, 30))
        write_her2st(tmp_path, f"A{i}", counts, genes=genes, seed=i)
    cohort = open_folder(tmp_path)
    settings = TaskSettings(genes=8, encoder="mean-rgb")
    card = DatasetCard(name="mine", title="Mine", patch={"px": 16})

    def panel(loud):
        def read(slide_id):
            slide = cohort.load(slide_id)
            if slide_id in loud:
                slide.adata.X = csr_matrix(slide.counts.toarray()[:, ::-1] * 50)
                slide.adata.obs["total_counts"] *= 50
            return slide

        return build_task(replace(cohort, reader=read), card, settings).facts

    quiet = panel(())
    assert len(quiet.genes) == 8
    assert panel((*quiet.test, *quiet.validation)).genes == quiet.genes
    assert panel(quiet.train).genes != quiet.genes


@pytest.mark.real
def test_candidates_of_the_study(real_data):
    """Genes common to the five sections with a full picture, of the data's README; none is mitochondrial."""
    cohort = open_folder(real_data / "her2st")
    common = set.intersection(*(set(cohort.load(section).genes) for section in ("B4", "C2", "C3", "C4", "C5")))
    assert len(common) == 13972
    assert not any(gene.startswith("MT-") for gene in common)
