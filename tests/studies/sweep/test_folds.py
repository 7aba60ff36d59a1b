"""A sweep over several folds: means over patients as boards give them, one task per fold."""

import numpy as np
import pytest

from stbench.errors import UserError
from stbench.evaluation.record import write_record
from stbench.grids.manifest import read_manifest
from stbench.grids.plan import address
from stbench.pages.patients import half_width
from stbench.studies.sweep.curves import curve, draw
from stbench.studies.sweep.grid import SweepManifest
from stbench.studies.sweep.page import page
from stbench.studies.sweep.results import read_results

from ...grids.conftest import record, series
from .conftest import both
from .test_results import table


def patients_of(results, name, genes):
    """Means over seeds and slides, computed from the records alone."""
    runs = results.records[name, genes]
    return [
        np.mean([list(run.metrics["pcc"].per_slide.values()) for run in runs if run.task.test[0].startswith(patient)])
        for patient in sorted({run.task.patients[run.task.test[0]] for run in runs})
    ]


def test_a_cell_is_the_mean_over_patients_with_the_interval_of_boards(folder):
    results = read_results(both(folder().add("falls", fall=0.1, draws=2)).write())
    values = patients_of(results, "falls", 50)
    assert len(values) == 6
    pcc = table(page(results), "PCC ↑")
    assert pcc["row"] == ["10", "50", "200"]
    assert pcc["falls, mean of 2"][1].startswith(f"{np.mean(values):.3f} ± {half_width(values):.3f} s0.00")
    assert set(pcc) >= {"falls, 1 draw", "ridge-slide", "random-spot, mean of 8", "*controls*"}
    found = curve(results, "falls", "pcc")
    assert found.mean[1] == pytest.approx(np.mean(values))
    assert found.wide[1] == pytest.approx((np.mean(values) - half_width(values), np.mean(values) + half_width(values)))


def test_three_patients_are_listed(folder):
    results = read_results(both(folder(patients=3).add("falls")).write())
    values = patients_of(results, "falls", 50)
    cell = table(page(results), "PCC ↑")["falls"][1]
    assert cell.startswith(f"{np.mean(values):.3f} [{min(values):.3f}, {max(values):.3f}]")
    assert curve(results, "falls", "pcc").wide[1] == pytest.approx((min(values), max(values)))


def test_the_page_names_its_folds(folder):
    text = page(read_results(both(folder().add("level")).write()))
    assert text.splitlines()[0] == "# Panel size: tiny, lopo"
    assert "- folds: 6: lopo-P0, lopo-P1" in text
    assert "12 test slides of 6 patients in 6 folds; 3 seeds; preset small." in text


def test_a_fold_that_is_missing_is_said(folder):
    made = both(folder().add("level"))
    out = made.write()
    for path in (out / "lopo-P2").rglob("record.json"):
        path.unlink()
    (out / "lopo-P3/g50/seed1/level/record.json").unlink()
    text = page(read_results(out))
    assert "- not run: 1 fold: lopo-P2" in text
    cells = table(text, "PCC ↑")["level"]
    assert [cell.rpartition(" ")[2] for cell in cells] == ["n=15", "n=14", "n=15"]
    assert "missing: not run yet (lopo-P2/g10/seed0/level" in text


def test_two_tasks_of_one_fold_are_never_mixed(folder):
    made = both(folder().add("level"))
    out = made.write()
    other = record("level", made.task("P1", 50, hash="e" * 64), [0, 0, 0], seed=1)
    write_record(other, out / "lopo-P1/g50/seed1/level")
    with pytest.raises(UserError, match="expected one task for 50 genes"):
        read_results(out)


def test_cells_lie_below_their_fold(folder):
    manifest = read_manifest(both(folder().add("level")).write(), SweepManifest)
    assert address(manifest, series("level"), "lopo-P1", "log1p", 50, 2) == "lopo-P1/g50/seed2/level"
    assert address(manifest, series("best", kind="ceiling"), "lopo-P1", "log1p", 50, 0) == "lopo-P1/g50/ceilings/best"
    one = manifest.model_copy(update={"folds": manifest.folds[:1]})
    assert address(one, series("level"), "lopo-P0", "log1p", 50, 2) == "g50/seed2/level"


def test_the_legend_says_what_the_light_band_is(folder):
    legend = draw(read_results(both(folder().add("level")).write()), "").legends[0].get_texts()
    assert "95 % t interval over patients" in [text.get_text() for text in legend]
