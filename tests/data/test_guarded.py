"""Whatever a reader trips over is a line about its slide, and the other slides are still looked at."""

import pytest

from stbench.data.audit import audit
from stbench.data.cohort import Cohort
from stbench.data.opening import open_folder
from stbench.data.slide import SlideRef
from stbench.errors import DataError

from .layouts import write_her2st


def cohort_of(root, error):
    sound = open_folder(root)

    def read(slide_id):
        if slide_id == "B1":
            raise error
        return sound.load(slide_id)

    return Cohort("mine", "theirs", tuple(SlideRef(id_, None) for id_ in ("A1", "B1", "C1")), read)


@pytest.fixture
def root(tmp_path):
    for seed, name in enumerate(("A1", "B1", "C1")):
        write_her2st(tmp_path, name, seed=seed)
    return tmp_path


@pytest.mark.parametrize(
    "error", [KeyError("x"), IndexError(), MemoryError(), RecursionError("deep"), AssertionError(), ValueError("a\nb")]
)
def test_any_error_is_one_row(root, error):
    cohort = cohort_of(root, error)
    with pytest.raises(DataError, match=f"slide B1: expected files .* found {type(error).__name__}") as found:
        cohort.load("B1")
    assert len(str(found.value).splitlines()) == 1
    report = audit(cohort)
    assert [row.check for row in report.rows if row.verdict == "FAIL"] == ["slide B1"]
    assert next(row.detail for row in report.rows if row.check == "spots") == "12"


def test_counts_of_any_reader_are_looked_at(root):
    sound = open_folder(root)

    def read(slide_id):
        slide = sound.load(slide_id)
        slide.adata.X.indices[3] = 99
        return slide

    with pytest.raises(DataError, match="counts: a sparse matrix with a column index 99 outside 0 to 3"):
        Cohort("mine", "theirs", (SlideRef("A1", None),), read).load("A1")


def test_what_is_said_on_purpose_stays_and_an_interruption_ends(root):
    with pytest.raises(DataError, match=r"^just this$"):
        cohort_of(root, DataError("just this")).load("B1")
    with pytest.raises(KeyboardInterrupt):
        audit(cohort_of(root, KeyboardInterrupt()))
