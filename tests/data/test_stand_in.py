"""Simulated slides under the names of a real cohort's."""

from dataclasses import replace

import pytest

from stbench.catalogue import find_dataset
from stbench.data.export import export_hest
from stbench.data.opening import open_cohort
from stbench.data.simulator import SimulationSettings, open_simulated
from stbench.data.stand_in import stand_in_for
from stbench.errors import SettingError

TINY = SimulationSettings(n_patients=3, sections_per_patient=1, n_spots=16, n_genes=20, um_per_px=4.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return open_simulated(TINY, tmp_path_factory.mktemp("cache"))


def test_slides_take_names_patient_by_patient(made):
    found = stand_in_for(find_dataset("prad"), made)
    assert found.ids == ("MEND139", "MEND154", "MEND140")
    assert [ref.patient for ref in found.refs] == ["patient_2", "patient_1", "patient_2"]
    slide = found.load("MEND154")
    assert (slide.id, slide.patient) == ("MEND154", "patient_1")
    assert (slide.counts != made.load("P02S1").counts).nnz == 0


def test_what_is_read_back_is_simulated(made, tmp_path):
    card = find_dataset("kidney")
    export_hest(stand_in_for(card, made), tmp_path / "kidney", patch_px=28, um_per_px=4.0)
    found = open_cohort(card, tmp_path)
    assert (found.ids, found.simulated) == (("NCBI692", "NCBI693", "NCBI694"), True)


def test_measured_slides_never_get_other_names(made):
    with pytest.raises(SettingError, match="expected the cohort simulated, found her2st; leave --as out"):
        stand_in_for(find_dataset("kidney"), replace(made, name="her2st", layout="hest"))


def test_more_slides_than_names(made):
    card = find_dataset("prad")
    few = card.model_copy(update={"slides": card.slides[:2]})
    with pytest.raises(SettingError, match="at most the card's 2 slides, found 3"):
        stand_in_for(few, made)
