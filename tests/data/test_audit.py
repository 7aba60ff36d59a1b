"""Audit of a cohort."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from stbench.catalogue import DatasetCard, SlideEntry, find_dataset
from stbench.data.audit import audit
from stbench.data.image import PatchSpec
from stbench.data.opening import open_cohort, open_folder
from stbench.data.simulator import SimulationSettings, open_simulated

from .layouts import counts, truncate, write_her2st, write_hest, write_patches

SECTIONS = ("A1", "A2", "B1", "C1")


@pytest.fixture
def root(tmp_path):
    for seed, section in enumerate(SECTIONS):
        write_her2st(tmp_path, section, seed=seed)
    return tmp_path


def make_card(sections=SECTIONS, n_spots=6):
    slides = [SlideEntry(id=f"SPA{s}", section=s, patient=s[0], n_spots=n_spots) for s in sections]
    return DatasetCard(name="mine", title="Mine", slides=slides, n_slides=len(slides), n_spots=n_spots * len(slides))


def check(root, card=None, **options):
    return audit(open_folder(root, require_image=False), card, **options)


def row(report, name):
    (found,) = [row for row in report.rows if row.check == name]
    return found


def failures(report):
    return {row.check: row.detail for row in report.rows if row.verdict == "FAIL"}


def test_a_sound_cohort(root):
    report = check(root, make_card())
    assert not report.failed
    assert row(report, "slides").detail == "4 of 4 on the card found (her2st layout)"
    assert row(report, "spots").detail == "24 of 24 on the card"
    assert row(report, "genes").detail == "4 common to all slides (4 to 4 each)"
    assert row(report, "patients").detail == "3"
    assert {row.verdict for row in report.rows if row.check != "split 7:2:1 by slide"} == {"ok"}


def test_missing_and_extra_slides_are_all_named_at_once(root):
    card = make_card(("A1", "B1", "X1", *(f"Y{i}" for i in range(20))))
    report = check(root, card)
    missing = ", ".join(f"SPA{s} ({s})" for s in ("X1", *(f"Y{i}" for i in range(20))))
    assert failures(report)["slides"] == f"2 of 23 on the card found (her2st layout); missing: {missing}"
    assert row(report, "extra slides").detail == "2 that the card does not know: A2, C1"


def test_extra_slides_that_the_reader_left_out(root):
    (root / "data").rename(root / "mine_data")
    (root / "mine").mkdir()
    (root / "mine_data").rename(root / "mine/data")
    card = make_card(SECTIONS[:3]).model_copy(update={"layouts": ["her2st"]})
    report = audit(open_cohort(card, root, require_image=False), card)
    assert row(report, "extra slides").detail == "1 that the card does not know: C1"
    assert not report.failed


def test_spots_that_differ_from_the_card(root):
    wrong = check(root, make_card(n_spots=5))
    assert "A1 6 of 5" in failures(wrong)["spots"]
    write_her2st(root, "A1", counts(9, n_spots=5), array=[(2, 5), (2, 6), (3, 5), (3, 6), (4, 5)])
    assert "A1 5 of 6" in failures(check(root, make_card()))["spots"]


def test_fewer_spots_for_a_stated_reason_are_a_note(tmp_path):
    write_hest(tmp_path, "S1", patches=[0, 1, 2])
    card = DatasetCard(name="m", title="M", slides=[SlideEntry(id="S1", patient="p", n_spots=6)], n_spots=6)
    report = check(tmp_path, card)
    assert (row(report, "spots").verdict, row(report, "spots").detail) == (
        "note",
        "3 of 6 on the card; differing: S1 3 of 6",
    )
    assert row(report, "notes on S1").detail == "3 of 6 spots dropped that have no patch"
    assert not report.failed


def test_one_bad_slide_does_not_stop_the_audit(root):
    truncate(root / "data/ST-cnts/A1.tsv.gz")
    matrix = counts(3)
    matrix[0, 0] = -1
    write_her2st(root, "C1", matrix)
    truncate(root / "data/ST-imgs/B/B1/he.png")
    report = check(root, make_card())
    found = failures(report)
    assert set(found) == {"slide A1", "slide B1", "slide C1"}
    assert "A1.tsv.gz" in found["slide A1"]
    assert "he.png" in found["slide B1"]
    assert "found -1" in found["slide C1"]


def test_truncated_patches_are_found(tmp_path):
    write_hest(tmp_path, "S1")
    truncate(tmp_path / "patches/S1.h5")
    assert "S1.h5" in failures(check(tmp_path))["slide S1"]


def test_patches_that_do_not_reach_as_far_as_runs_cut(tmp_path):
    for seed, (name, side) in enumerate({"S1": 8, "S2": 4, "S3": 16, "S4": 6}.items()):
        adata = write_hest(tmp_path, name, seed=seed, patches=None)
        write_patches(tmp_path / f"patches/{name}.h5", adata, range(6), side=side, src=2 * side)  # 20 um a pixel
    names = {"patches of S2": "at most 80 um (what was stored), found 160 um", "patches of S4": "at most 120 um"}
    own = check(tmp_path, patch=PatchSpec(um=160))
    assert not own.failed
    assert {r.check for r in own.rows if r.check.startswith("patches of")} == set(names)
    found = failures(check(tmp_path, make_card(("S1", "S2", "S3", "S4")), patch=PatchSpec(um=160)))
    assert set(found) == set(names)
    assert all(said in found[name] for name, said in names.items())


def test_two_slides_with_the_same_counts(root):
    write_her2st(root, "B1", seed=0)
    said = "A1, B1: the same counts, so one tissue under 2 names; leave all but one out"
    assert failures(check(root))["duplicate slides"] == said


def test_slides_left_out_and_without_picture(root):
    (root / "data/ST-spotfiles/A2_selection.tsv").unlink()
    (root / "data/ST-imgs/C/C1/he.png").unlink()
    report = check(root, make_card())
    assert failures(report) == {"left out: A2": "no spot file: expected data/ST-spotfiles/A2_selection.tsv"}
    assert (row(report, "pictures").verdict, row(report, "pictures").detail) == ("note", "2 of 3 slides; none for C1")


def test_unknown_patients_and_pixel_sizes(tmp_path):
    for seed, name in enumerate(("S1", "S2", "S3")):
        write_hest(tmp_path, name, patient="", seed=seed, patches=None, wsi=True, pixel_size_um_estimated=None)
    report = check(tmp_path)
    assert row(report, "patients").detail == "0; unknown for S1, S2, S3: no split by patient"
    assert "unknown for S1, S2, S3" in row(report, "pixel size").detail
    assert "leakage unknown" in row(report, "split 7:2:1 by slide").detail
    assert not report.failed


def test_no_gene_in_common(root):
    write_her2st(root, "C1", genes=["W", "X", "Y", "Z"], seed=7)
    assert failures(check(root))["genes"].startswith("0 common to all slides")


def test_the_slide_that_names_its_genes_unlike_the_others(root):
    ids = [f"ENSG{i:011d}" for i in range(4)]
    write_her2st(root, "B1", genes=ids, seed=2)
    report = check(root)
    said = row(report, "gene names").detail
    assert said.startswith("B1: 0 of 4 gene names shared with A1, A2, C1, as these are Ensembl ids")
    assert "4 of 4 gene names are ids without a symbol" in row(report, "notes on B1").detail


def test_spots_without_counts_are_noted(root):
    matrix = counts(8)
    matrix[[1, 2]] = 0
    write_her2st(root, "C1", matrix)
    assert row(check(root), "spots without counts").detail == "kept (C1: 2)"


def test_leakage(root):
    """2 training, 1 validation, 1 test slide: a test slide of A leaks unless its sister validates, 2/4 x 2/3."""
    leak = row(check(root, n_splits=2000), "split 7:2:1 by slide")
    assert (leak.verdict, float(leak.detail.split("%")[0])) == ("note", pytest.approx(100 / 3, abs=4))
    for section in SECTIONS[1:3]:
        (root / f"data/ST-cnts/{section}.tsv.gz").unlink()
    assert "not possible: 2 slides" in row(check(root), "split 7:2:1 by slide").detail


def test_promises_are_checked_of_cohorts_that_no_reader_made(root):
    cohort = open_folder(root)

    def spoil(slide_id):
        slide = cohort.load(slide_id)
        if slide_id == "A1":
            slide.adata.X = csr_matrix(slide.counts.toarray() - 1)
        elif slide_id == "A2":
            slide.adata.obs["total_counts"] = 0.0
        elif slide_id == "B1":
            slide.adata.obsm["spatial"][0] = 9999
        return slide

    found = failures(audit(replace(cohort, reader=spoil)))
    assert set(found) == {"slide A1", "slide A2", "slide B1"}
    assert "negative" in found["slide A1"]


def test_an_empty_cohort_fails(root):
    assert "slides" in failures(audit(replace(open_folder(root), refs=())))


def test_the_simulated_cohort(tmp_path):
    settings = SimulationSettings(n_patients=3, sections_per_patient=1, n_spots=20, n_genes=30)
    report = audit(open_simulated(settings, tmp_path))
    assert not report.failed
    assert row(report, "split 7:2:1 by slide").verdict == "ok"


@pytest.mark.real
def test_dlpfc(real_data):
    """Nine of twelve slides are not bundled; all others are sound."""
    card = find_dataset("dlpfc")
    report = audit(open_cohort(card, real_data, require_image=False), card)
    assert set(failures(report)) == {"slides"}
    assert np.char.count(failures(report)["slides"], "MISC") == 9
    assert row(report, "spots").detail == "10904 of 47681 on the card"
