"""Notes on slides, those of one kind together."""

from dataclasses import replace

import pytest

from stbench.catalogue import SlideEntry
from stbench.data.findings import Findings, spots_unlike_card
from stbench.data.opening import open_folder

from .layouts import counts, write_her2st


@pytest.fixture
def slide(tmp_path):
    write_her2st(tmp_path)
    return open_folder(tmp_path).load("A1")


def lines(slide, notes):
    findings = Findings()
    for id_, said in notes.items():
        findings.add(replace(slide, id=id_, notes=tuple(said)))
    return findings.lines()


def test_one_line_per_kind(slide):
    notes = {
        "S1": ["3 of 36 spots dropped: no position (2x5)", "hires picture"],
        "S2": ["12 of 40 spots dropped: no position (9x9, 8x8)", "file S2.h5: 0.5 um"],
        "S3": ["file S3.h5: 0.5 um"],
    }
    assert lines(slide, notes) == [
        "S1, S2: 3 to 12 of 36 to 40 spots dropped: no position",
        "S1: hires picture",
        "S2, S3: file <slide>.h5: 0.5 um",
    ]


def test_the_note_of_one_slide_is_kept_whole(slide):
    assert lines(slide, {"S1": ["S1.h5: 2 spots (2x5) left out"]}) == ["S1: S1.h5: 2 spots (2x5) left out"]


def test_notes_of_one_kind_on_one_slide_are_both_there(slide):
    assert lines(slide, {"S1": ["column 3 odd", "column 5 odd"]}) == ["S1: column 3 to 5 odd"]


def test_many_slides_are_counted(slide):
    notes = {f"S{i}": ["odd"] if i > 1 else [] for i in range(1, 9)}
    assert lines(slide, notes) == ["S2, S3, S4 and 4 more: odd"]
    assert lines(slide, {id_: ["odd"] for id_ in notes}) == ["all 8 slides: odd"]


def test_the_order_of_slides_changes_nothing(slide):
    notes = {"S2": ["2 odd"], "S1": ["1 odd"]}
    assert lines(slide, notes) == lines(slide, dict(reversed(notes.items()))) == ["S1, S2: 1 to 2 odd"]


def test_an_unknown_pixel_size(slide):
    findings = Findings()
    findings.add(replace(slide, um_per_px=None))
    assert findings.lines() == ["A1: pixel size unknown: patches must be given in px"]
    assert lines(replace(slide, um_per_px=None, image=None), {"S1": []}) == []


def test_spots_unlike_the_card(slide):
    def card(n_spots, id_="A1"):
        return [SlideEntry(id=id_, section="X", patient="p", n_spots=n_spots)]

    assert spots_unlike_card([slide], card(6)) == spots_unlike_card([slide], card(7, "B1")) == []
    assert spots_unlike_card([slide], card(7)) == ["spots differ from the card: A1 6 of 7"]


def test_spots_without_counts(tmp_path):
    matrix = counts()
    matrix[[1, 2]] = 0
    write_her2st(tmp_path, matrix=matrix)
    findings = Findings()
    findings.add(open_folder(tmp_path).load("A1"))
    assert findings.lines() == ["A1: 2 spots without counts kept"]
