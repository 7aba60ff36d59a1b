"""What a sweep makes of its records: curves, numbers, page, figure."""

import csv
import io
import json
import statistics
from itertools import pairwise

import pytest

from stbench.errors import UserError
from stbench.evaluation.record import DrawSummary, write_record
from stbench.evaluation.summaries import summarise_draws
from stbench.grids.manifest import read_manifest, write_manifest
from stbench.pages.rows import SINGLE
from stbench.studies.sweep.curves import curve, draw, spread_out
from stbench.studies.sweep.grid import SweepManifest
from stbench.studies.sweep.page import page
from stbench.studies.sweep.report import write_report
from stbench.studies.sweep.results import read_results, results_csv

from ...grids.conftest import SLIDES, facts, manifest, record, series

PCC = {(5, 0): [0.1, 0.2, 0.6], (5, 1): [0.3, 0.4, 0.8], (50, 0): [0.0, 0.1, None]}


@pytest.fixture
def folder(tmp_path):
    """Two panel sizes and two seeds of a generative method, one seed missing and one failed; a control, a ceiling."""
    return fill(tmp_path)


def fill(out, **changes):
    tasks = {genes: facts(genes, **changes) for genes in (5, 50)}
    members = [series("flag", kind="generative", draws=8), series("ridge", kind="control", control=True)]
    write_manifest(out, manifest(*members, series("best", kind="ceiling", control=True), seeds=[0, 1]))
    for (genes, seed), values in PCC.items():
        single = {"pcc": summarise_draws({slide: [0.2, 0.4] for slide in SLIDES})}
        put(
            out,
            f"g{genes}/seed{seed}/flag",
            record("flag", tasks[genes], values, "generative", seed, draws=8, metrics_single_draw=single),
        )
    put(out, "g50/seed1/flag", record("flag", tasks[50], [None] * 3, status="failed", reason="NaN at step 3", seed=1))
    for genes, task in tasks.items():
        put(out, f"g{genes}/seed0/ridge", record("ridge", task, [0.5, 0.5, 0.5], "control"))
    put(out, "g5/ceilings/best", record("best", tasks[5], [0.9, 0.9, 0.9], "ceiling"))
    (out / "failures.json").write_text(
        json.dumps({"g50/ceilings/best": "no memory", "g5/seed0/ridge": "long repaired"})
    )
    return out


def put(out, name, one):
    (out / name).mkdir(parents=True, exist_ok=True)
    write_record(one, out / name)


def test_curves_and_their_two_bands(folder):
    found = curve(read_results(folder), "flag", "pcc")
    assert found.genes == [5, 50]
    assert found.mean == pytest.approx([0.4, 0.05])
    around = statistics.stdev([0.2, 0.3, 0.7])  # of means over seeds
    assert found.wide[0] == pytest.approx((0.4 - around, 0.4 + around))
    assert found.over_seeds[0] == pytest.approx(statistics.stdev([0.3, 0.5]))  # of means over slides
    assert found.wide[1] == pytest.approx((0.05 - statistics.stdev([0.0, 0.1]), 0.05 + statistics.stdev([0.0, 0.1])))
    assert found.over_seeds[1] is None
    single = curve(read_results(folder), "flag", "pcc", SINGLE)
    assert (single.genes, single.mean) == ([5, 50], pytest.approx([0.3, 0.3]))
    assert curve(read_results(folder), "best", "pcc").genes == [5]
    assert curve(read_results(folder), "nobody", "pcc").genes == []


def test_every_number_of_the_records_is_in_the_csv(folder):
    lines = list(csv.DictReader(io.StringIO(results_csv(read_results(folder)))))
    flag = {
        (int(line["genes"]), int(line["seed"]), line["slide"]): line["value"]
        for line in lines
        if (line["series"], line["metric"], line["row"]) == ("flag", "pcc", "declared")
    }
    expected = {
        (*place, slide): "" if value is None else repr(value)
        for place, values in PCC.items()
        for slide, value in zip(SLIDES, values, strict=True)
    }
    assert flag == expected
    draws = {line["value"] for line in lines if line["row"] == "single draw"}
    assert {round(float(value), 9) for value in draws} == {0.3}
    assert {(line["series"], line["kind"]) for line in lines} == {
        ("flag", "generative"),
        ("ridge", "control"),
        ("best", "ceiling"),
    }
    assert {line["patient"] for line in lines} == {"c"}


def test_a_pooled_metric_has_no_slide(tmp_path):
    task = facts(5)
    one = record("flag", task, [0.1, 0.2, 0.3], draws=2)
    pooled = one.metrics["pcc"].model_copy(update={"per_slide": {}, "mean": 0.25, "std": None})
    single = DrawSummary(mean=0.125, std_draws=0.1, std_slides=None, per_slide={})
    changes = {"metrics": {"pooled-pcc": pooled}, "metrics_single_draw": {"pooled-pcc": single}}
    put(tmp_path, "g5/seed0/flag", one.model_copy(update=changes))
    write_manifest(tmp_path, manifest(genes=[5]))
    lines = list(csv.DictReader(io.StringIO(results_csv(read_results(tmp_path)))))
    assert [(line["row"], line["slide"], line["value"]) for line in lines] == [
        ("declared", "", "0.25"),
        ("single draw", "", "0.125"),
    ]


def table(text, title):
    """Cells of the table under a heading, by the name of the row."""
    under = text.split(f"## {title}")[1].split("##")[0]
    lines = [[part.strip() for part in line.strip("|").split("|")] for line in under.splitlines() if line[:1] == "|"]
    return {line[0]: line[1:] for line in [lines[0], *lines[2:]]}


def test_the_page(folder):
    text = page(read_results(folder))
    pcc = table(text, "PCC")
    assert pcc["row"] == ["5", "50"]
    assert pcc["flag, mean of 8"] == ["0.400 ± 0.265 ±s 0.141", "0.050 ± 0.071 n=1"]
    assert pcc["flag, 1 draw"] == ["0.300 ± 0.000 ±s 0.000 ±d 0.141", "0.300 ± 0.000 ±d 0.141 n=1"]
    assert pcc["ridge"] == ["0.500 ± 0.000", "0.500 ± 0.000"]
    assert pcc["best"] == ["0.900 ± 0.000", "-"]
    assert [row for row in pcc if row.startswith("*")] == ["*methods*", "*controls*", "*ceilings*"]
    assert table(text, "Seconds")["flag"] == ["2.5 + 1.0 s, 100 MB", "2.0 + 1.0 s, 100 MB"]
    assert "- failed: NaN at step 3 (g50/seed1/flag)" in text
    assert "- failed: no memory (g50/ceilings/best)" in text
    assert "long repaired" not in text
    assert text.rstrip().endswith(f"{read_manifest(folder, SweepManifest).command()}\n```")
    assert "Simulated" not in text


def test_cells_that_were_never_run(tmp_path):
    write_manifest(tmp_path, manifest(series("flag"), genes=[5]))
    files = write_report(tmp_path)
    assert [path.suffix for path in files] == [".md", ".csv"]
    assert "- missing: not run yet (g5/seed0/flag)" in files[0].read_text()


@pytest.mark.parametrize(
    ("changes", "mark"),
    [({"simulated": True}, "Simulated"), ({"semi_synthetic": True}, "Semi-synthetic"), ({}, "Real")],
)
def test_generated_data_are_marked_on_page_and_figure(tmp_path, changes, mark):
    fill(tmp_path, **changes)
    md, _, _, svg = write_report(tmp_path)
    origin = "" if mark == "Real" else f" ({mark.lower()})"
    assert md.read_text().splitlines()[0] == f"# Panel size: tiny{origin}, slide"
    for text in (md.read_text(), svg.read_text()):
        assert f"{mark} data: tiny; 3 test slides; 2 seeds; preset small." in text
    assert ("say nothing about tissue" in md.read_text()) is (mark == "Simulated")


def test_an_oracle_stands_in_brackets(tmp_path):
    single = {"pcc": summarise_draws({slide: [0.2, 0.4] for slide in SLIDES})}
    seer = record("seer", facts(5), [0.7, 0.8, 0.9], "oracle", draws=2, metrics_single_draw=single)
    put(tmp_path, "g5/seed0/seer", seer)
    write_manifest(tmp_path, manifest(series("seer", kind="oracle", draws=2), genes=[5]))
    results = read_results(tmp_path)
    assert table(page(results), "PCC")["[seer, mean of 2]"] == ["0.800 ± 0.100"]
    assert curve(results, "seer", "pcc", SINGLE).mean == pytest.approx([0.3])
    assert "[seer]" in {line.get_label() for line in draw(results, "").axes[0].get_lines()}
    assert "`[ ]` and ceilings see the truth" in page(results)


def test_the_same_records_give_the_same_bytes(folder):
    first = [path.read_bytes() for path in write_report(folder)]
    assert [path.read_bytes() for path in write_report(folder)] == first
    assert len(first) == 4


def test_two_tasks_at_one_size_are_never_mixed(folder):
    put(folder, "g5/seed1/flag", record("flag", facts(5, hash="f" * 64), [0.1, 0.2, 0.3], seed=1))
    with pytest.raises(UserError, match="expected one task for 5 genes"):
        read_results(folder)


def test_a_folder_without_a_sweep(tmp_path):
    with pytest.raises(UserError, match="expected a sweep in"):
        write_report(tmp_path)


def test_the_figure_shows_what_there_is(folder):
    figure = draw(read_results(folder), "caption")
    pcc = figure.axes[0]
    lines = {line.get_label(): line for line in pcc.get_lines()}
    assert list(lines["flag"].get_ydata()) == pytest.approx([0.4, 0.05])
    assert [tick.get_text() for tick in pcc.get_xticklabels()] == ["5", "50"]
    assert pcc.get_xscale() == "log"
    assert {text.get_text() for text in pcc.texts} == {"ridge", "best"}
    legend = [text.get_text().strip() for text in figure.legends[0].get_texts()]
    assert {"flag", "one draw", "± SD over seeds", "± SD over slides", "controls", "ceilings"} <= set(legend)


def test_labels_keep_apart():
    assert spread_out([], 0.05) == []
    assert spread_out([0.1, 0.5, 0.9], 0.05) == pytest.approx([0.1, 0.5, 0.9])
    assert spread_out([0.1, 0.5, 0.5], 0.1) == pytest.approx([0.1, 0.45, 0.55])
    moved = spread_out([0.5, 0.5, 0.51], 0.05)
    assert [b - a for a, b in pairwise(moved)] == pytest.approx([0.05, 0.05])
    assert sum(moved) == pytest.approx(1.51)
