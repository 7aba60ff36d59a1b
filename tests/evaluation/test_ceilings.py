"""Ceilings of simulated cohorts as rows."""

from dataclasses import replace

import numpy as np
import pytest

from stbench.catalogue import find_dataset
from stbench.data.semisynthetic import SemisyntheticSettings
from stbench.data.semisynthetic.cohort import make_slides
from stbench.data.simulator import SimulationSettings, open_simulated
from stbench.evaluation.build import build_task
from stbench.evaluation.plan import ceilings_of
from stbench.evaluation.record import read_record
from stbench.evaluation.run import run_method
from stbench.evaluation.task import TaskSettings
from stbench.pages.sections import sections

from .conftest import make_cohort

TINY = SimulationSettings(n_patients=3, sections_per_patient=1, n_spots=80, n_genes=60, um_per_px=4.0)


def write_ceilings(task, out):
    """The ceilings of a task as rows."""
    return [run_method(task, card, folder=out / card.name) for card in ceilings_of(task.facts.origin)]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    cohort = open_simulated(TINY, tmp_path_factory.mktemp("cache"))
    return build_task(cohort, find_dataset("simulated"), TaskSettings(genes=20, encoder="mean-rgb"))


def test_knowing_more_helps(simulated, tmp_path):
    image, truth = write_ceilings(simulated, tmp_path)
    assert read_record(tmp_path / "best-from-image") == image
    assert 0 < truth.metrics["mse"].mean < image.metrics["mse"].mean
    assert truth.metrics["pcc"].mean > image.metrics["pcc"].mean > 0.2
    (section,) = sections([image, truth])
    assert [(row.label, row.block, row.ranked) for row in section.rows] == [
        ("best-from-truth", "ceilings", False),
        ("best-from-image", "ceilings", False),
    ]


@pytest.fixture
def semi_synthetic(slides, split):
    """Makes the task of a semi-synthetic cohort on a scale."""
    made = make_slides(slides, SemisyntheticSettings(n_genes=8, dim=8, share=0.5))
    facts = TaskSettings(genes=5, split=str(split), encoder="given")

    def task(**changes):
        return build_task(make_cohort(made), find_dataset("her2st-semisynthetic"), replace(facts, **changes))

    return task


def test_the_ceiling_of_semi_synthetic_slides(semi_synthetic, tmp_path):
    task = semi_synthetic()
    (ceiling,) = write_ceilings(task, tmp_path)
    assert (ceiling.method, ceiling.kind, ceiling.task.origin) == ("best-from-own-spot", "ceiling", "semi-synthetic")
    line = [0.5 * task.test[i].expression.var(axis=0).mean() for i in range(3)]
    assert 0 < ceiling.metrics["mse"].mean < np.mean(line) * 1.1  # an even number of spots: one mode is free of noise
    assert ceiling.metrics["pcc"].mean > 0.65
    assert read_record(tmp_path / "best-from-own-spot") == ceiling


def test_a_ceiling_that_is_not_known_on_a_scale_says_so(semi_synthetic, tmp_path):
    (ceiling,) = write_ceilings(semi_synthetic(normalization="cp10k-log1p"), tmp_path)
    assert (ceiling.status, ceiling.metrics) == ("refused", {})
    assert "log1p or log2p1; found cp10k-log1p" in ceiling.reason


def test_ceilings_of_real_slides_are_measured(task, tmp_path):
    assert {record.method for record in write_ceilings(task, tmp_path)} == {"ceiling-count-split", "ceiling-serial"}
    assert not list(tmp_path.rglob("predictions"))
