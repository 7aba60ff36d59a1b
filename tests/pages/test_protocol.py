"""Folds that meet: means over patients, marks, intervals, and when there are none."""

import re

import numpy as np
import pytest
from scipy import stats

from stbench.errors import UnknownNameError, UserError
from stbench.evaluation.record import DrawSummary, Record, TaskFacts
from stbench.evaluation.summaries import summarise
from stbench.pages.differences import differences_table
from stbench.pages.leaderboard import columns_of, protocol_page, table_of
from stbench.pages.marks import marks
from stbench.pages.patients import patients_needed
from stbench.pages.protocol import boards_of, lines_of
from stbench.pages.sections import sections
from stbench.pages.wording import verdict

PATIENTS = [f"P{i}" for i in range(6)]
NAMES = {"log1p": "log1p: natural log", "cp10k-log1p": "cp10k-log1p: natural log"}


def facts(patient, scale="log1p", **changes):
    """Leave one patient out: two slides each."""
    others = [name for name in PATIENTS if name != patient]
    parts = {"test": [patient], "validation": others[:1], "train": others[1:]}
    slides = {part: [f"{name}-{i}" for name in names for i in (0, 1)] for part, names in parts.items()}
    all_ = [slide for some in slides.values() for slide in some]
    said = {
        "hash": f"{patient}{scale}".ljust(64, "0"),
        "dataset": "tiny",
        "simulated": False,
        "n_genes": 2,
        "genes": ["A", "B"],
        "normalization": NAMES[scale],
        "encoder": "handcrafted-v1/1",
        "patch": "112 um",
        "protocol": f"lopo-{patient}",
        "rule": "lopo",
        "protocol_hash": "f" * 64,
        **slides,
        "patients": {slide: slide.partition("-")[0] for slide in all_},
        "leak_fraction": 0.0,
        "n_spots": dict.fromkeys(all_, 10),
        "data_digest": "d",
    }
    return TaskFacts.model_validate({**said, **changes})


def record(method, values, patient, kind="discriminative", seed=0, scale="log1p", **changes):
    """Values of the two slides of the patient who is tested."""
    task = changes.pop("task", None) or facts(patient, scale)
    said = {
        "status": "done", "task": task, "method": method, "title": method, "kind": kind, "entry": method,
        "preset": "small", "settings": {}, "seed": seed, "draws": 1, "encoder": task.encoder,
        "command": "stbench run --split lopo", "metrics": {"pcc": summarise(dict(zip(task.test, values, strict=True)))},
    }  # fmt: skip
    return Record.model_validate({**said, **changes})


def board(*records):
    (found,) = boards_of(sections(records))
    return found


def table(found):
    return table_of(found, columns_of(found))


def everywhere(method, level, spread=0.0, patients=PATIENTS, **changes):
    """A record per fold; the spread is the same for every method."""
    shifts = np.random.default_rng(len(method)).normal(0, spread, len(PATIENTS)) if spread else np.zeros(len(PATIENTS))
    base = dict(zip(PATIENTS, np.linspace(-0.1, 0.1, len(PATIENTS)) + shifts, strict=True))
    return [record(method, [level + base[p] - 0.02, level + base[p] + 0.02], p, **changes) for p in patients]


def test_folds_meet_in_one_table():
    found = board(*everywhere("good", 0.5, 0.01), *everywhere("ridge", 0.3, kind="control"))
    assert (found.name, len(found.folds), found.scales) == ("tiny-g2-lopo-ffffffff", 6, ["log1p"])
    line = found.lines[0]
    assert line.label == "good"
    assert set(line.patients("log1p")) == set(PATIENTS)
    values = list(line.patients("log1p").values())
    assert line.mean("log1p") == pytest.approx(np.mean(values))
    text = protocol_page(found)
    assert text.startswith("## tiny, lopo, 2 genes\n\nThe best method in PCC is `good`, 0.2")
    assert "above the best control, `ridge`: more than noise (95 % interval" in text
    assert "| 1 | good = |" in text
    assert "| 2 | *ridge* |" in text


def test_a_method_no_better_than_the_control():
    found = board(*everywhere("same", 0.3, 0.05), *everywhere("ridge", 0.3, 0.05, kind="control"))
    assert marks(found)["same"].endswith("!")
    assert "not above it by more than noise" in verdict(found)


def test_a_fold_alone_and_folds_of_unknown_rules():
    (alone,) = boards_of(sections([record("good", [0.1, 0.2], "P0")]))
    assert (alone.rule, alone.name[:14]) == ("lopo-P0", "tiny-g2-lopo-P")
    old = [one.model_copy(update={"task": one.task.model_copy(update={"protocol_hash": ""})})
           for one in everywhere("good", 0.5)]  # fmt: skip
    assert len(boards_of(sections(old))) == len(PATIENTS)


def test_two_scales_of_one_fold_meet_and_two_versions_of_the_data_do_not():
    scales = [record("good", [0.1, 0.2], "P0", scale=scale) for scale in NAMES]
    (both,) = boards_of(sections(scales))
    assert (both.scales, both.folds) == (["log1p", "cp10k-log1p"], ["lopo-P0"])
    newer = record("good", [0.3, 0.4], "P0", task=facts("P0", hash="e" * 64, data_digest="other"))
    assert [found.scales for found in boards_of(sections([scales[0], newer]))] == [["log1p"], ["log1p"]]


def test_folds_of_two_protocols_never_share_a_table():
    other = facts("P1", protocol_hash="e" * 64)
    found = sections([record("ridge", [0.3, 0.3], "P0"), record("ridge", [0.3, 0.3], "P1", task=other)])
    assert [len(one.sections) for one in boards_of(found)] == [1, 1]
    with pytest.raises(UserError, match="expected folds of one protocol in a table, found eeeeeeee, ffffffff; give"):
        lines_of(found)


def test_a_row_that_lacks_folds_is_said_and_not_marked():
    found = board(*everywhere("half", 0.9, patients=PATIENTS[:3]), *everywhere("good", 0.5, 0.01),
                  *everywhere("ridge", 0.3, kind="control"))  # fmt: skip
    labels = [row[1] for row in table(found).rows]
    assert labels[0] == "half (3 of 6 folds)"
    assert table(found).rows[0][0] == ""  # listed, and without a place
    assert marks(found)["half"] == ""


@pytest.mark.parametrize(
    ("on_raw", "on_dep", "label", "dep"),
    [
        (PATIENTS[:3], PATIENTS, "half (3 of 6 folds)", "(6 folds)"),
        (PATIENTS, PATIENTS[:4], "half", "(4 of 6 folds)"),
        (PATIENTS[:4], PATIENTS[:4], "half (4 of 6 folds)", ""),
    ],
)
def test_folds_are_counted_on_every_scale(on_raw, on_dep, label, dep):
    rest = [*everywhere("good", 0.5, 0.01), *everywhere("ridge", 0.3, kind="control")]
    rest += [
        *everywhere("good", 0.4, scale="cp10k-log1p"),
        *everywhere("ridge", 0.2, kind="control", scale="cp10k-log1p"),
    ]
    found = board(*everywhere("half", 0.9, patients=on_raw),
                  *everywhere("half", 0.8, patients=on_dep, scale="cp10k-log1p"), *rest)  # fmt: skip
    row = next(row for row in table(found).rows if row[1].startswith("half"))
    assert row[1].removesuffix(" =") == label
    assert (row[0] == "1") is (len(on_raw) == len(PATIENTS))  # complete on dep alone is no place in a ranking on raw
    assert row[3].endswith(dep)
    assert ("folds)" in row[3]) is bool(dep)


def test_both_scales_stand_beside_each_other():
    records = [*everywhere("good", 0.5), *everywhere("ridge", 0.3, kind="control")]
    records += [record("good", [0.1, 0.2], p, scale="cp10k-log1p") for p in PATIENTS]
    shown = table(board(*records))
    assert shown.head == ["#", "row", "PCC ↑", "PCC dep ↑"]
    assert shown.rows[0][3].startswith("0.150")
    assert shown.rows[1][3] == "-"


def test_seeds_never_raise_the_number_of_patients():
    one, both = ([*everywhere("good", 0.5, 0.02), *everywhere("ridge", 0.3, kind="control")] for _ in range(2))
    both += [one.model_copy(update={"seed": 1}) for one in everywhere("good", 0.5, 0.02)]
    first, second = (board(*records).lines[0].numbers["log1p"]["pcc"] for records in (one, both))
    assert second.over.half == pytest.approx(first.over.half)
    assert (first.seeds, second.seeds) == (None, pytest.approx(0.0))


def test_no_interval_under_a_leak():
    def leaky(patient):
        task = facts(patient)
        return task.model_copy(update={"patients": {**task.patients, task.validation[0]: patient}})

    records = [
        one.model_copy(update={"task": leaky(one.task.test[0].partition("-")[0])})
        for one in [*everywhere("good", 0.5, 0.01), *everywhere("ridge", 0.3, kind="control")]
    ]
    found = board(*records)
    assert not found.has_intervals
    assert set(marks(found).values()) == {""}
    text = protocol_page(found)
    assert "## tiny, lopo, 2 genes `L`" in text
    assert "cannot be said from test patients that train or validate (`L`)" in text
    assert " ± " not in text.split("| ---")[1].split("\n\n")[0]


def test_few_patients_are_listed():
    few = PATIENTS[:3]
    found = board(*everywhere("good", 0.5, patients=few), *everywhere("ridge", 0.3, patients=few, kind="control"))
    assert re.match(r"0\.\d+ \[0\.\d+, 0\.\d+\]$", table(found).rows[0][2])
    assert "3 patients, at least 4 are needed" in verdict(found)


def test_unknown_patients():
    def unknown(task):
        return task.model_copy(update={"patients": dict.fromkeys(task.patients)})

    records = [one.model_copy(update={"task": unknown(one.task)}) for one in everywhere("good", 0.5)]
    found = board(*records, *[one.model_copy(update={"task": unknown(one.task)}) for one in
                              everywhere("ridge", 0.3, kind="control")])  # fmt: skip
    assert re.match(r"0\.\d+ \[0\.\d+, 0\.\d+\]$", table(found).rows[0][2])
    assert "cannot be said from unknown patients" in verdict(found)
    assert "Patients are unknown: mean over slides" in protocol_page(found)


def test_who_sees_the_truth_has_no_rank():
    records = [*everywhere("good", 0.5, 0.01), *everywhere("ridge", 0.3, kind="control")]
    records += [*everywhere("depth", 0.8, kind="oracle"), *everywhere("best", 0.9, kind="ceiling")]
    rows = table(board(*records)).rows
    assert [(row[0], row[1].split(" ")[0]) for row in rows] == [
        ("", "best"), ("", "[depth]"), ("1", "good"), ("2", "ridge"),
    ]  # fmt: skip


def test_single_draws_are_rows_of_their_own():
    def drawn(patient):
        single = DrawSummary(
            mean=0.2, std_draws=0.1, std_slides=None, per_slide={slide: [0.1, 0.3] for slide in facts(patient).test}
        )
        return record("flag", [0.4, 0.4], patient, "generative", draws=2, metrics_single_draw={"pcc": single})

    found = board(*map(drawn, PATIENTS), *everywhere("ridge", 0.3, kind="control"))
    means = {line.label: line.mean("log1p") for line in found.lines}
    assert means["flag, 1 draw"] == pytest.approx(0.2)
    assert means["flag, mean of 2"] == pytest.approx(0.4)


def test_differences_of_rows():
    records = [*everywhere("good", 0.5, 0.02), *everywhere("ridge", 0.3, kind="control")]
    (found,) = boards_of(sections(records))
    (row,) = differences_table(found).rows
    assert (row[:3], row[3][:3]) == (["good", "log1p", "6"], "+0.")
    gaps = np.array([found.lines[0].patients("log1p")[p] - found.lines[1].patients("log1p")[p] for p in PATIENTS])
    low, high = stats.t.interval(0.95, 5, gaps.mean(), stats.sem(gaps))
    assert row[4] == f"{low:+.3f} to {high:+.3f}"
    assert float(row[6]) == pytest.approx(2 / 2**6, abs=5e-4)
    wanted = differences_table(found, gap=0.01)
    assert wanted.head[-1] == "patients for 0.01"
    assert wanted.rows[0] == [*row, str(patients_needed(gaps.std(ddof=1), 0.01))]
    (turned,) = differences_table(found, to="good").rows
    assert turned[3] == "-" + row[3][1:]
    with pytest.raises(UnknownNameError, match="unknown row 'god': did you mean good"):
        differences_table(found, to="god")
    with pytest.raises(UnknownNameError, match="unknown metric 'mse'"):
        differences_table(found, "mse")
    with pytest.raises(UserError, match="expected a control to compare with"):
        differences_table(boards_of(sections(everywhere("good", 0.5)))[0])


def test_one_task_is_compared_without_intervals():
    records = [record("good", [0.5, 0.6], "P0"), record("ridge", [0.3, 0.5], "P0", "control")]
    (found,) = boards_of(sections(records))
    assert differences_table(found).rows[0][2:] == ["1", "+0.150", "-", "-", "-", "-"]
    assert differences_table(found, gap=0.02).rows[0][2:] == ["1", "+0.150", "-", "-", "-", "-", "-"]
