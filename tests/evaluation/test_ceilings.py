"""Ceilings of simulated cohorts as rows."""

import pytest

from stbench.catalogue import find_dataset
from stbench.data.simulator import SimulationSettings, open_simulated
from stbench.evaluation.ceilings import write_ceilings
from stbench.evaluation.leaderboard import sections
from stbench.evaluation.record import read_record
from stbench.evaluation.task import TaskSettings, build_task

TINY = SimulationSettings(n_patients=3, sections_per_patient=1, n_spots=80, n_genes=60, um_per_px=4.0)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    cohort = open_simulated(TINY, tmp_path_factory.mktemp("cache"))
    return build_task(cohort, find_dataset("simulated"), TaskSettings(genes=20, encoder="mean-rgb"))


def test_knowing_more_helps(simulated, tmp_path):
    image, truth = write_ceilings(simulated, tmp_path, "stbench run ...")
    assert read_record(tmp_path / "best-from-image") == image
    assert 0 < truth.metrics["mse"].mean < image.metrics["mse"].mean
    assert truth.metrics["pcc"].mean > image.metrics["pcc"].mean > 0.2
    (section,) = sections([image, truth])
    assert [(row.label, row.block, row.ranked) for row in section.rows] == [
        ("best-from-truth", "ceilings", False),
        ("best-from-image", "ceilings", False),
    ]


def test_real_slides_have_none(task, tmp_path):
    assert list(write_ceilings(task, tmp_path, "")) == []
    assert list(tmp_path.iterdir()) == []
