"""Finding a cohort on disk."""

import pytest

from stbench.catalogue import DatasetCard, SlideEntry, find_dataset
from stbench.data.opening import open_cohort, open_folder
from stbench.data.readers import READERS
from stbench.errors import DataError, UnknownNameError

from .layouts import write_her2st, write_hest, write_spaceranger, write_st

SLIDES = [SlideEntry(id="S1", section="A1", patient="p1", n_spots=6)]


def card(*layouts):
    return DatasetCard(name="mine", title="Mine", layouts=list(layouts), slides=SLIDES, source="ask the authors")


def test_layouts_in_order():
    assert list(READERS) == ["her2st", "hest", "spaceranger", "st", "h5ad", "spatialdata"]


def test_without_a_data_root():
    with pytest.raises(DataError, match=r"mine: no data root given; set --data-root or STBENCH_DATA .* holds mine/"):
        open_cohort(card("hest"), None)


def test_a_cohort_that_can_be_fetched_says_how(tmp_path):
    kidney = find_dataset("kidney")
    with pytest.raises(
        DataError, match=r"holds kidney/, or get it with stbench datasets fetch kidney --data-root DIR$"
    ):
        open_cohort(kidney, None)
    with pytest.raises(DataError) as error:
        open_cohort(kidney, tmp_path)
    assert f"to obtain it: stbench datasets fetch kidney --data-root {tmp_path}; HEST-1k" in str(error.value)


def test_nothing_there_says_what_was_looked_for_where_and_how_to_obtain_it(tmp_path):
    for prepare, found in (
        (lambda: None, "no such folder"),
        (lambda: (tmp_path / "mine").mkdir(), "an empty folder"),
        (lambda: (tmp_path / "mine/notes.txt").touch(), "only notes.txt"),
    ):
        prepare()
        with pytest.raises(DataError) as error:
            open_cohort(card("hest", "spaceranger"), tmp_path)
        said = str(error.value)
        assert "\n" not in said
        assert f"in {tmp_path / 'mine'}, found {found}; to obtain it: ask the authors" in said
        assert all(READERS[layout].signature in said for layout in ("hest", "spaceranger"))
        assert READERS["her2st"].signature not in said


@pytest.mark.parametrize("name", ["her2st", "kidney", "prad", "dlpfc"])
def test_every_card_says_how_to_obtain_it(tmp_path, name):
    with pytest.raises(DataError) as error:
        open_cohort(find_dataset(name), tmp_path)
    assert "MahmoodLab/hest" in str(error.value)
    assert f"<data root>/{name}" in str(error.value)


def test_whichever_layout_is_there(tmp_path):
    write_hest(tmp_path / "mine")
    both = card("her2st", "hest")
    cohort = open_cohort(both, tmp_path)
    assert (cohort.name, cohort.layout, cohort.ids) == ("mine", "hest", ("S1",))
    write_her2st(tmp_path / "mine")
    assert open_cohort(both, tmp_path).layout == "her2st"
    assert open_cohort(both, tmp_path).ids == ("A1",)
    assert open_cohort(card("hest"), tmp_path).ids == ("S1",)


@pytest.mark.parametrize(
    ("layout", "write"),
    [("her2st", write_her2st), ("hest", write_hest), ("spaceranger", write_spaceranger), ("st", write_st)],
)
def test_somebodys_own_folder(tmp_path, layout, write):
    write(tmp_path / "slides")
    cohort = open_folder(tmp_path / "slides")
    assert (cohort.name, cohort.layout, len(cohort.refs)) == ("slides", layout, 1)
    assert cohort.load(cohort.ids[0]).n_spots > 0


def test_a_folder_in_no_layout(tmp_path):
    with pytest.raises(DataError) as error:
        open_folder(tmp_path)
    assert "found an empty folder" in str(error.value)
    assert all(f"{name}: {layout.signature}" in str(error.value) for name, layout in READERS.items())


def test_slides_that_are_not_there(tmp_path):
    write_her2st(tmp_path)
    write_her2st(tmp_path, "B1", image=False)
    cohort = open_folder(tmp_path)
    for slide_id in ("A2", "B1"):
        with pytest.raises(UnknownNameError, match=rf"unknown slide of .* '{slide_id}'"):
            cohort.load(slide_id)
