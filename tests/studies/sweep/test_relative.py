"""Scores less a control over several folds: a planted fall is found, none is not, and bounds are those of t tests."""

import csv
import io

import numpy as np
import pytest
from scipy import stats

from stbench.pages.rows import DECLARED, SINGLE
from stbench.studies.sweep.page import page
from stbench.studies.sweep.relative import Relative, headline, relative_csv, steps, to_largest
from stbench.studies.sweep.relative_curves import draw_relative
from stbench.studies.sweep.relative_page import relative_parts, verdict
from stbench.studies.sweep.report import write_report
from stbench.studies.sweep.reported import reported
from stbench.studies.sweep.results import read_results

from .conftest import GENES, both


def found(made, control="ridge-slide"):
    return Relative(read_results(made.write()), control)


def row_of(one, name, way=DECLARED):
    return next(row for row in one.rows if (row.series, row.way) == (name, way))


def test_a_planted_fall_is_found_and_what_the_panel_takes_from_all_is_not(folder):
    one = found(both(folder().add("falls", fall=0.1).add("level")))
    falls = one.fall(row_of(one, "falls"), "pcc", 10, 200)
    level = one.fall(row_of(one, "level"), "pcc", 10, 200)
    assert abs(falls.mean - 0.1) < falls.half() < 0.02
    assert falls.mean - falls.half() > 0 > level.mean - level.half()
    assert level.mean + level.half() > 0
    itself = Relative(one.results)
    assert itself.fall(row_of(itself, "level"), "pcc", 10, 200).mean == pytest.approx(0.2, abs=0.01)


def test_without_seeds_it_is_the_paired_t_test(folder):
    one = found(both(folder(seeds=(4,)).add("falls", fall=0.05)))
    row, results = row_of(one, "falls"), one.results
    mine, bar = (
        [results.line(name, genes).patients("log1p") for genes in (50, 200)] for name in ("falls", "ridge-slide")
    )
    falls = [(mine[0][p] - bar[0][p]) - (mine[1][p] - bar[1][p]) for p in mine[0]]
    assert one.fall(row, "pcc", 50, 200).p == pytest.approx(stats.ttest_1samp(falls, 0.0).pvalue)


def test_slopes_are_per_doubling(folder):
    one = found(both(folder().add("falls", fall=0.1, noise=0.0)))
    row = row_of(one, "falls")
    slopes = [one.slope(row, "gsc", *step).mean for step in steps(GENES)]
    assert slopes == pytest.approx([-0.1 / np.log2(20)] * 2, abs=0.005)
    assert (steps(GENES), to_largest(GENES)) == ([(10, 50), (50, 200)], [(10, 200), (50, 200)])


def test_one_draw_is_held_against_one_draw(folder):
    one = found(both(folder().add("draws", draws=2, noise=0.0)), "random-spot")
    declared, single = (one.at(row_of(one, "draws", way), 10, "gsc").mean for way in (DECLARED, SINGLE))
    assert declared == pytest.approx(single, abs=0.005) == pytest.approx(0.4, abs=0.005)
    bar = Relative(one.results, "ridge-slide")
    assert bar.at(row_of(bar, "draws", SINGLE), 10, "gsc").mean == pytest.approx(-0.2, abs=0.005)


def test_fewer_than_four_patients_are_listed(folder):
    one = found(both(folder(patients=3).add("falls", fall=0.3)))
    falls = one.fall(row_of(one, "falls"), "pcc", 50, 200)
    assert falls.half() is None
    assert len(falls.per_patient) == 3
    text = "\n".join(relative_parts(one.results, "f"))
    lowest, highest = min(falls.per_patient.values()), max(falls.per_patient.values())
    assert f"{falls.mean:+.3f} [{lowest:+.3f}, {highest:+.3f}]" in text
    assert "±" not in text.split("### ")[1]
    assert verdict(one.results) == (
        "From 50 to 200 genes, whether PCC falls beyond `ridge-slide` cannot be said from 3 patients, at least 4 are "
        "needed."
    )


def test_what_is_known_in_words(folder):
    said = verdict(found(both(folder().add("falls", fall=0.2, draws=2).add("level"))).results)
    pcc, other = said.split("; no other such fall is resolved, and one above 0.0", 1)
    assert pcc.startswith("From 50 to 200 genes PCC falls beyond `ridge-slide` in `falls, mean of 2` by 0.0")
    assert other[3:].startswith("(`level`) is excluded (95 % intervals). From 50 to 200 genes GSC falls beyond")
    assert "SSC falls beyond `random-spot` in `falls, 1 draw` by 0.0" in other


def test_no_fall_in_words(folder):
    said = verdict(found(both(folder().add("level"))).results)
    assert said.startswith(
        "From 50 to 200 genes no fall of PCC beyond that of `ridge-slide` is resolved; one above 0.0"
    )
    assert said.endswith("(`level`) is excluded (95 % intervals).")


def test_a_control_that_did_not_run_is_named(folder):
    results = found(folder().add("level").add("ridge-slide", kind="control", control=True)).results
    text = "\n".join(relative_parts(results, "f"))
    assert "`random-spot` has no numbers here: nothing is held against it." in text
    assert "*less ridge-slide*" in text
    assert "*less random-spot*" not in text


def test_nothing_to_hold_against(folder):
    results = found(folder().add("level")).results
    assert len(relative_parts(results, "f")) == 3
    assert verdict(results).endswith("cannot be said: that did not run.")


def test_the_fall_that_a_paper_reports(folder):
    said = reported("joint-diffusion", "pcc", 50, 200)
    assert (said.small, said.large, said.dataset) == (0.5350, 0.1497, "kidney")
    assert reported("node-diffusion", "gsc", 50, 200).fall == pytest.approx(0.6790 - 0.3282)
    assert reported("joint-diffusion", "pcc", 10, 200) is None
    assert reported("ridge", "pcc", 50, 200) is None
    made = both(folder().add("joint-diffusion").add("ridge"))
    text = "\n".join(relative_parts(found(made).results, "f")).split("### From 50 to 200")[1]
    lines = {tuple(part.strip() for part in line.split("|")[1:3]): line for line in text.splitlines() if "|" in line}
    assert "+0.385 (0.535 to 0.150)" in lines["joint-diffusion", "PCC"]
    assert lines["ridge", "PCC"].rstrip("| ").endswith("-")
    assert "reported: 2605.18055, Table 8, kidney: another cohort" in text


def test_the_numbers_are_in_the_csv(folder):
    made = both(folder().add("falls", fall=0.1))
    one = found(made)
    head = ["series", "method", "kind", "genes", "seed", "fold", "row", "draws", "metric", "slide", "patient", "value"]
    lines = [dict(zip(head, line, strict=True)) for line in csv.reader(io.StringIO(relative_csv(one.results)))]
    mine = [line for line in lines if (line["metric"], line["genes"]) == ("pcc less ridge-slide", "50")]
    assert {(line["patient"], line["seed"]) for line in mine} == {(p, str(s)) for p in made.names for s in (0, 1, 2)}
    mean = np.mean([float(line["value"]) for line in mine])
    assert mean == pytest.approx(one.at(row_of(one, "falls"), 50, "pcc").mean)


def test_the_sizes_spoken_of_first():
    assert headline([10, 50, 100, 200, 400]) == (50, 200)
    assert headline([10, 100, 200]) == (100, 200)
    assert headline([10]) is None


def test_what_is_known_stands_first_on_the_page(folder):
    text = page(read_results(both(folder().add("level")).write()))
    assert text.splitlines()[2].startswith("From 50 to 200 genes no fall of PCC beyond that of `ridge-slide`")
    assert "![scores less a control against the number of genes](tiny-genes-lopo-" in text


def test_files_and_figures(folder):
    out = both(folder().add("level", draws=2).add("falls", fall=0.2)).write()
    written = {path.name: path.read_bytes() for path in write_report(out)}
    assert [name.rpartition("-")[2][-8:] for name in written if "-less" in name] == ["less.png", "less.svg"]
    (numbers,) = [data.decode() for name, data in written.items() if name.endswith(".csv")]
    lines = list(csv.DictReader(io.StringIO(numbers)))
    assert {line["fold"] for line in lines if line["metric"] == "pcc"} == {f"lopo-P{i}" for i in range(6)}
    assert {"pcc less ridge-slide", "ssc less random-spot"} <= {line["metric"] for line in lines}
    results = read_results(out)
    figure = draw_relative(results, "caption")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"{m} ↑ less {c}" for c in ("ridge-slide", "random-spot") for m in ("PCC", "GSC", "SSC")]
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert lines["falls"].get_ydata()[0] - lines["falls"].get_ydata()[2] == pytest.approx(0.2, abs=0.01)


def test_no_figure_without_a_control(folder):
    out = folder().add("level").write()
    assert draw_relative(read_results(out), "") is None
    assert not [path for path in write_report(out) if "-less" in path.name]
    assert "did not run" in page(read_results(out))
