"""Tables made by hand."""

import csv
import io
import random

import pytest

from stbench.errors import UnknownNameError, UserError
from stbench.evaluation.record import DrawSummary, Record, TaskFacts
from stbench.evaluation.summaries import summarise, summarise_draws
from stbench.metrics.score import RULES
from stbench.pages.archive import read_records
from stbench.pages.leaderboard import leaderboard, write_leaderboards
from stbench.pages.protocol import boards_of
from stbench.pages.sections import leaderboard_csv, sections

TEST = ["t1", "t2", "t3", "t4"]


def facts(**changes):
    said = {
        "hash": "a" * 64,
        "dataset": "tiny",
        "simulated": False,
        "n_genes": 2,
        "genes": ["A", "B"],
        "normalization": "log1p: natural log of 1 + raw counts",
        "encoder": "handcrafted-v1/1",
        "patch": "112 um",
        "protocol": "patient",
        "train": ["a1", "a2"],
        "validation": ["b1"],
        "test": TEST,
        "patients": {"a1": "a", "a2": "a", "b1": "b", **{slide: f"p{slide}" for slide in TEST}},
        "leak_fraction": 0.0,
        "n_spots": dict.fromkeys(["a1", "a2", "b1", *TEST], 10),
        "data_digest": "d",
    }
    return TaskFacts.model_validate({**said, **changes})


def record(method, pcc=None, kind="discriminative", task=None, **changes):
    task = task or facts()
    metrics = {} if pcc is None else {"pcc": summarise(dict(zip(task.test, pcc, strict=True)))}
    said = {
        "status": "done",
        "task": task,
        "method": method,
        "title": method,
        "kind": kind,
        "entry": f"stbench:{method}",
        "preset": "paper",
        "settings": {},
        "seed": 0,
        "draws": 1,
        "encoder": task.encoder,
        "command": "stbench run ...",
        "metrics": metrics,
    }
    return Record.model_validate({**said, **changes})


def flag(seed=0, **changes):
    single = {"pcc": summarise_draws({slide: [0.4, 0.6] for slide in TEST})}
    posterior = {"pcc": summarise(dict.fromkeys(TEST, 0.64))}
    more = {"draws": 8, "metrics_single_draw": single, "metrics_posterior_mean": posterior, "seed": seed, **changes}
    return record("flag", [0.6, 0.7, 0.6, 0.7], "generative", **more)


def table(text):
    """Cells of the first table, without the two lines of its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    end = next(i for i, line in enumerate(lines) if line.startswith("| run "))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:end]]


def test_rows_of_a_generative_method():
    rows = table(leaderboard([flag()], metrics=["pcc"]))
    assert rows == [
        ["1", "flag, mean of 8 =", "0.650 ± 0.092"],
        ["2", "flag-mean =", "0.640 ± 0.000"],
        ["3", "flag, 1 draw", "0.500 ± 0.000 (± 0.141)"],
    ]


def test_one_ranking_with_the_controls_in_it():
    records = [
        record("ridge", [0.5, 0.5, 0.5, 0.6], "control"),
        record("total-counts", [0.9] * 4, "oracle", encoder="none"),
        record("training-mean", [None] * 4, "control"),
        record("worse", [0.1, 0.2, 0.1, 0.3]),
        record("better", [0.3, 0.1, 0.4, 0.2]),
        record("ridge-rgb", [0.4, 0.4, 0.4, 0.5], "control", encoder="mean-rgb/1"),
    ]
    rows = table(leaderboard(records, metrics=["pcc"]))
    assert [row[:2] for row in rows] == [
        ["", "[total-counts]"],
        ["1", "*ridge =*"],
        ["2", "*ridge-rgb (mean-rgb)*"],
        ["3", "better !"],
        ["4", "worse !"],
        ["", "*training-mean*"],
    ]
    assert rows[-1][2] == "-"


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ([0.5, 0.6, 0.7, 0.8], [0.4, 0.5, 0.61, 0.7], True),  # always about 0.1 better
        ([0.9, 0.6, 0.7, 0.8], [0.4, 0.7, 0.6, 0.9], False),  # better on average, not reliably
    ],
)
def test_the_best_is_told_from_others_beyond_the_uncertainty(first, second, told):
    rows = table(leaderboard([record("x", first), record("y", second)], metrics=["pcc"]))
    assert [row[1] for row in rows] == ["x =", "y" if told else "y ="]


def test_nothing_is_told_apart_with_two_patients():
    task = facts(test=["t1", "t2"])
    text = leaderboard([record("x", [0.9, 0.8], task=task), record("y", [0.1, 0.1], task=task)], metrics=["pcc"])
    assert [row[1:] for row in table(text)] == [["x", "0.850 [0.800, 0.900]"], ["y", "0.100 [0.100, 0.100]"]]
    assert "no interval and no comparison: 2 patients, at least 4 are needed" in text


@pytest.mark.parametrize("leak", ["train", "validation", None])
def test_no_interval_under_a_leak_or_with_unknown_patients(leak):
    known = facts().patients
    task = facts(patients={} if leak is None else {**known, {"train": "a1", "validation": "b1"}[leak]: "pt1"})
    text = leaderboard([record("x", [0.9] * 4, task=task), record("y", [0.1] * 4, task=task)], metrics=["pcc"])
    assert [row[1:] for row in table(text)] == [["x", "0.900 [0.900, 0.900]"], ["y", "0.100 [0.100, 0.100]"]]
    assert ("2 genes `L`" in text) is (leak is not None)
    assert ("`L` 25% of test slides share a patient with training or validation" in text) is (leak is not None)
    assert ("Patients are unknown: mean over slides" in text) is (leak is None)


def test_seeds_are_averaged_and_do_not_raise_n():
    records = [record("x", [0.2, 0.4, 0.2, 0.4], seed=1), record("x", [0.4, 0.6, 0.4, 0.6], seed=2)]
    text = leaderboard(records, metrics=["pcc"])
    assert ["1", "x", "0.400 ± 0.184 s0.141"] in table(text)
    assert "- seeds: 1, 2; averaged inside a slide" in text


def test_the_later_of_two_runs_counts():
    runs = [record("x", [0.1] * 4, created="2026-01-01"), record("x", [0.3] * 4, created="2026-01-02", rules=2)]
    assert ["1", "x", "0.300 ± 0.000"] in table(leaderboard(runs, metrics=["pcc"]))
    failed = record("x", status="failed", reason="r", created="2026-01-03")
    assert ["1", "x", "0.300 ± 0.000"] in table(leaderboard([*runs, failed], metrics=["pcc"]))


def test_runs_with_other_settings_are_other_rows():
    runs = [
        record("x", [0.1] * 4, settings={"lr": 0.1, "depth": 2}),
        record("x", [0.2] * 4, settings={"lr": 0.2, "depth": 2}),
        record("x", [0.3] * 4, preset="small", settings={"lr": 0.2, "depth": 1}),
    ]
    rows = [row[1] for row in table(leaderboard(runs, metrics=["pcc"]))]
    assert [row.removesuffix(" =") for row in rows] == ["x (small)", "x (paper, lr=0.2)", "x (paper, lr=0.1)"]


def test_calibrated_draws_say_so():
    plain, on = record("x", [0.2] * 4, settings={}), record("x", [0.1] * 4, settings={"calibrate": True})
    assert [row[1] for row in table(leaderboard([on], metrics=["pcc"]))] == ["x (calibrate=true)"]
    assert [row[1] for row in table(leaderboard([on, plain], metrics=["pcc"]))] == ["x =", "x (calibrate=true)"]


@pytest.mark.parametrize(("smooth", "label"), [(True, "x (smooth_labels=true)"), (False, "x")])
def test_smoothed_labels_are_named_even_where_no_run_differs(smooth, label):
    runs = [record("x", [0.1] * 4, settings={"lr": 0.1, "smooth_labels": smooth})]
    assert [row[1] for row in table(leaderboard(runs, metrics=["pcc"]))] == [label]


def test_settings_in_place_of_the_presets_are_named_even_where_no_run_differs():
    request = {"overrides": ["lr=0.1", "x.depth=2"]}
    runs = [record("x", [0.1] * 4, settings={"lr": 0.1, "depth": 2, "width": 3}, request=request)]
    assert [row[1] for row in table(leaderboard(runs, metrics=["pcc"]))] == ["x (lr=0.1, depth=2)"]


def test_a_preset_that_changes_nothing_is_the_same_run():
    runs = [record("x", [0.1] * 4), record("x", [0.1] * 4, preset="small")]
    assert [row[1] for row in table(leaderboard(runs, metrics=["pcc"]))] == ["x"]


def test_refused_and_failed_rows_carry_their_reason():
    runs = [
        record("x", [0.1] * 4),
        record("slow", status="refused", reason="needs 3 | 4 slides"),
        record("broken", status="failed", reason="not finite"),
    ]
    text = leaderboard(runs, metrics=["pcc"])
    assert table(text) == [["1", "x", "0.100 ± 0.000"], ["x", "broken", "x"], ["-", "slow", "-"]]
    assert "- `x` broken, seed 0: failed: not finite" in text
    assert "- `-` slow, seed 0: refused: needs 3 | 4 slides" in text


def test_simulated_and_real_never_share_a_table():
    simulated = facts(hash="b" * 64, simulated=True, dataset="simulated")
    text = leaderboard([record("x", [0.1] * 4, task=simulated), record("x", [0.2] * 4)], metrics=["pcc"])
    real, _, made = text.partition("## simulated, ")
    assert "0.200" in real
    assert "0.100" not in real
    assert "say nothing about tissue" in made
    assert "say nothing about tissue" not in real
    assert "Not comparable with numbers printed in papers" in real


def semi_synthetic(**changes):
    about = "features of width 8 made from counts and noise, no picture; they carry 0.4 of the variance"
    said = {"hash": "c" * 64, "dataset": "her2st-semisynthetic", "semi_synthetic": True, "encoder": "given/1"}
    return facts(**{**said, "about": about, **changes})


def test_semi_synthetic_data_have_their_own_table_between_real_and_simulated_ones():
    tasks = [facts(hash="b" * 64, simulated=True, dataset="simulated"), semi_synthetic(), facts()]
    text = leaderboard([record("x", [0.1] * 4, task=task) for task in tasks], metrics=["pcc"])
    heads = [line for line in text.splitlines() if line.startswith("## ")]
    assert heads == [
        "## tiny, patient, 2 genes",
        "## her2st-semisynthetic (semi-synthetic), patient, 2 genes",
        "## simulated, patient, 2 genes",
    ]
    real, made = text.split("## ")[1:3]
    assert "they carry 0.4 of the variance" in made
    assert "nothing about what an H&E picture shows" in made
    assert "emi-synthetic" not in real
    assert "Not comparable with numbers printed in papers" not in made


def test_the_origin_is_in_every_record_and_line():
    assert facts().origin == "real"  # also of a record that was written before there were others
    records = [record("x", [0.1] * 4, task=task) for task in (facts(), semi_synthetic())]
    rows = list(csv.DictReader(io.StringIO(leaderboard_csv(records))))
    assert {(row["task"][0], row["origin"]) for row in rows} == {("a", "real"), ("c", "semi-synthetic")}
    assert records[1].model_dump()["task"]["semi_synthetic"] is True


def test_a_plain_name_of_semi_synthetic_data_is_marked_too():
    text = leaderboard([record("x", [0.1] * 4, task=semi_synthetic(dataset="mine"))])
    assert "## mine (semi-synthetic), patient" in text


def test_the_number_of_draws_and_how_they_were_combined():
    stflow = record("stflow", [0.5] * 4, "generative", draws=5, metrics_single_draw=flag().metrics_single_draw)
    text = leaderboard([flag(), stflow, record("x", [0.1] * 4)], metrics=["pcc"])
    assert "Draws of every slide, from one fit: 5 (stflow); 8 (flag)." in text
    assert "`mean of M`: the score of the mean of the M draws." in text
    assert "± sample standard deviation over draws of a draw's mean over slides (paper, Table 9)" in text
    one = leaderboard([flag(draws=1)], metrics=["pcc"])
    assert "from one fit: 1 (flag)." in one
    assert "mean of M" not in one
    assert "Draws of every slide" not in leaderboard([record("x", [0.1] * 4)], metrics=["pcc"])


def test_spread_over_draws_as_a_column():
    """Four slides alike, draws of 0.4 and 0.6: the means over slides differ by 0.2, their deviation is 0.2 / sqrt 2."""
    rows = table(leaderboard([flag()], metrics=["pcc", "pcc-draw-sd"]))
    assert rows[2] == ["3", "flag, 1 draw", "0.500 ± 0.000 (± 0.141)", "0.1414"]
    assert rows[0][3] == "-"
    assert "PCC, sd over draws" in leaderboard([flag()], metrics=["pcc-draw-sd"])


def test_slides_and_draws_spread_apart():
    """Draws that move all slides together spread over draws alone, slides that stay apart over slides alone."""
    together = {"pcc": summarise_draws({slide: [0.1, 0.3] for slide in TEST})}
    apart = {"pcc": summarise_draws(dict(zip(TEST, ([0.1, 0.1], [0.3, 0.3], [0.1, 0.1], [0.3, 0.3]), strict=True)))}
    cells = [
        table(leaderboard([flag(metrics_single_draw=single)], metrics=["pcc"]))[-1][2] for single in (together, apart)
    ]
    assert cells == ["0.200 ± 0.000 (± 0.141)", "0.200 ± 0.184 (± 0.000)"]


def test_csv_has_every_draw_of_every_slide():
    rows = list(csv.DictReader(io.StringIO(leaderboard_csv([flag(), flag(seed=3)]))))
    single = [row for row in rows if row["row"] == "flag, 1 draw" and row["metric"] == "pcc"]
    drawn = {(row["slide"], row["seed"], row["draw"]): row["value"] for row in single}
    assert drawn["t2", "3", "1"] == "0.6"
    assert float(drawn["t2", "", ""]) == pytest.approx(0.5)
    assert float(drawn["", "0", "0"]) == pytest.approx(0.4)  # mean over slides
    assert len(single) == 4 + 2 * 2 * (4 + 1)
    assert all(row["draw"] == "" for row in rows if row["row"] == "flag, mean of 8")


def test_pooled_metrics_and_left_out_genes():
    metrics = {
        "pcc": summarise(dict.fromkeys(TEST, 0.5), {"t1": 2, "t2": 1}),
        "pooled-pcc": summarise({}).model_copy(update={"mean": 0.7}),
    }
    text = leaderboard([record("x", metrics=metrics)])
    assert ["1", "x", "0.500 ± 0.000", "0.700"] in table(text)
    assert "summed over test slides: pcc 3 (x)." in text


def test_genes_predicted_constant_are_counted_by_row():
    def flat(counts):
        return {"pcc": summarise(dict.fromkeys(TEST, 0.1), None, counts), "gsc": summarise(dict.fromkeys(TEST))}

    single = {"pcc": summarise_draws({slide: [0.1, 0.2] for slide in TEST}, {"t3": 1})}
    page = leaderboard([
        record("a", metrics=flat({"t1": 2, "t2": 1}), rules=2),
        record("b", metrics=flat({"t1": 3}), rules=2),
        record("c", metrics=flat({}), metrics_single_draw=single, draws=2, kind="generative", rules=2),
    ])  # fmt: skip
    assert "(0 in PCC, left out of GSC and SSC), summed over test slides: 1 (c, 1 draw); 3 (a; b)." in page
    assert "`-` undefined, as GSC and SSC of a constant prediction and CRPS of one draw are." in page
    assert "older rules" not in page


def test_what_a_crps_is_follows_from_its_records():
    values = dict.fromkeys(TEST, 0.4)
    dressed, plain = summarise(values, dressed=True), summarise(values)
    point, sampler = (record(name, metrics={"pcc": plain, "crps": crps}, rules=2) for name, crps in
                      (("a", dressed), ("b", plain)))  # fmt: skip
    old = record("c", metrics={"crps": plain})
    assert "`n` CRPS of a normal law around a point prediction" in leaderboard([point, sampler])
    assert "mean absolute error" not in leaderboard([point, sampler])
    assert "normal law" not in leaderboard([sampler])
    assert "CRPS of a row without several draws is its mean absolute error." in leaderboard([old])


def test_rows_scored_under_older_rules_are_named_beside_newer_ones():
    newer, older = record("a", [0.1] * 4, rules=2), record("b", [0.2] * 4)
    said = "Scored under older rules, not to be put beside the other rows until `stbench rescore` has"
    assert f"{said} scored them again: b." in leaderboard([newer, older])
    assert "older rules" not in leaderboard([older]) + leaderboard([newer])


def test_rules_3_moved_calibrated_draws_alone():
    now, before = record("a", [0.1] * 4, rules=RULES), record("b", [0.2] * 4, rules=2, draws=4)
    calibrated = record("c", [0.2] * 4, rules=2, draws=4, settings={"calibrate": True})
    assert "older rules" not in leaderboard([now, before])
    assert "has scored them again: c" in leaderboard([now, before, calibrated])


def test_pooled_single_draws():
    single = {"pooled-pcc": DrawSummary(mean=0.4, std_draws=0.02, std_slides=None, per_slide={})}
    text = leaderboard([flag(metrics={}, metrics_posterior_mean={}, metrics_single_draw=single)])
    assert "0.400 (± 0.020)" in text


def test_one_test_slide_is_printed_as_it_is():
    task = facts(test=["t1"])
    text = leaderboard([record("x", [0.5], task=task)], metrics=["pcc"])
    assert ["1", "x", "0.500"] in table(text)


def test_order_of_records_does_not_matter():
    records = [flag(), flag(seed=1), record("x", [0.1] * 4), record("c", [0.3] * 4, "control")]
    expected = leaderboard(records), leaderboard_csv(records)
    for seed in range(5):
        shuffled = random.Random(seed).sample(records, len(records))
        assert (leaderboard(shuffled), leaderboard_csv(shuffled)) == expected


def test_ends_with_the_commands():
    text = leaderboard([record("x", [0.1] * 4)], command="stbench leaderboard runs")
    assert text.endswith("```\nstbench run ...\nstbench leaderboard runs\n```\n")


def test_unknown_metric():
    with pytest.raises(UnknownNameError, match="did you mean pcc"):
        leaderboard([record("x", [0.1] * 4)], metrics=["pccc"])


def test_csv():
    rows = list(csv.DictReader(io.StringIO(leaderboard_csv([record("x", [0.25, None, 0.5, 0.5])]))))
    assert rows[0] == {
        "task": "a" * 64, "origin": "real", "row": "x", "metric": "pcc", "slide": "t1", "patient": "pt1",
        "seed": "", "draw": "", "value": "0.25",
    }  # fmt: skip
    assert rows[1]["value"] == ""
    assert len(rows) == 4


def test_files_can_be_made_again_from_what_is_kept(tmp_path):
    records = [flag(), flag(seed=1), record("x", [0.1] * 4)]
    asked = {"command": "stbench leaderboard runs", "with_csv": True}
    first = write_leaderboards(boards_of(sections(records)), tmp_path / "out", **asked)
    assert [path.name for path in first] == ["tiny-g2-patient-aaaaaaaa.md"]
    kept = boards_of(sections(list(read_records([tmp_path / "out"]))))
    write_leaderboards(kept, tmp_path / "two", **asked)
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()} == files
    assert {name.partition(".")[2] for name in files} == {"md", "csv", "records.jsonl.xz"}


def test_no_csv_unless_asked_for(tmp_path):
    write_leaderboards(boards_of(sections([flag()])), tmp_path)
    assert {path.name.partition(".")[2] for path in tmp_path.iterdir()} == {"md", "records.jsonl.xz"}


def test_no_records(tmp_path):
    with pytest.raises(UserError, match="at least one record"):
        write_leaderboards(boards_of([]), tmp_path)


@pytest.mark.parametrize(
    ("kind", "block", "ranked"),
    [
        ("generative", "methods", True),
        ("discriminative", "methods", True),
        ("control", "controls", True),
        ("oracle", "controls", False),
        ("ceiling", "ceilings", False),
    ],
)
def test_a_row_stands_where_its_kind_says(kind, block, ranked):
    (section,) = sections([record("anything", [0.1] * 4, kind)])
    assert [(row.block, row.ranked) for row in section.rows] == [(block, ranked)]
    assert section.groups[0].block == block


def test_a_page_says_what_runs_took_besides_fitting():
    runs = [
        record("ours", [0.5] * 4, seconds={"read": 2.0, "features": 0.0, "fit": 1.0, "score": 0.25, "write": 3.0}),
        record("theirs", [0.4] * 4, seconds={"read": 4.0, "features": 8.0, "fit": 1.0, "score": 0.75, "write": 1.0}),
    ]
    page = leaderboard(runs)
    assert (
        "Besides, on average over runs: 3.0 s of reading slides, 4.0 s of features, 0.5 s of scoring, 2.0 s of writing."
        in page
    )
    before = [record("ours", [0.5] * 4, seconds={"fit": 1.0, "predict": 1.0, "score": 0.25})]
    assert "Besides" not in leaderboard(before)
