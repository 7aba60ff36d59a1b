"""What the marks of a board say, who is ranked, and how far a row comes to the ceiling."""

import pytest

from stbench.catalogue import method_cards
from stbench.evaluation.summaries import summarise, summarise_draws
from stbench.pages.leaderboard import columns_of, protocol_page, table_of
from stbench.pages.marks import marks, ranked, samplers_not_better, share
from stbench.pages.protocol import boards_of
from stbench.pages.sections import sections
from stbench.pages.wording import verdict

from .test_leaderboard import TEST, facts, record


def board(*records):
    (found,) = boards_of(sections(records))
    return found


def line_of(found, label):
    return next(line for line in found.lines if line.label == label)


def names(found):
    return [line.label for line in ranked(found)]


RIDGE = [0.4, 0.42, 0.38, 0.41]


def with_ceiling(*more, level=0.8):
    return board(record("ridge", RIDGE, "control"), record("ceiling-count-split", [level] * 4, "ceiling"), *more)


def test_a_row_above_the_ceiling_is_marked_and_has_no_rank():
    found = with_ceiling(record("magic", [0.82] * 4), record("good", [0.805] * 4))
    assert marks(found)["magic"] == "?"
    assert names(found) == ["good", "ridge"]
    assert "`?` PCC above the count-split ceiling by 0.01; not ranked" in protocol_page(found)


def test_the_share_of_the_way_to_the_ceiling():
    found = with_ceiling(record("half", [(value + 0.8) / 2 for value in RIDGE]))
    assert share(found, line_of(found, "half")) == pytest.approx(0.5)
    assert share(found, line_of(found, "ridge")) == 0
    shown = table_of(found, columns_of(found))
    assert shown.head[3] == "share"
    assert [row[3] for row in shown.rows] == ["100%", "50%", "0%"]
    near = with_ceiling(level=0.44)
    assert share(near, line_of(near, "ridge")) is None
    assert "share" not in table_of(board(record("x", [0.1] * 4)), ["pcc"]).head


def test_ceilings_of_generated_cohorts_share_out_and_accuse_nobody():
    task = facts(dataset="simulated", simulated=True, secret="5" * 64)
    rows = [("ridge", RIDGE, "control"), ("best-from-image", [0.6] * 4, "ceiling"), ("lucky", [0.62] * 4, "generative")]
    found = board(*(record(name, pcc, kind, task=task) for name, pcc, kind in rows))
    assert "?" not in marks(found)["lucky"]
    assert share(found, line_of(found, "best-from-image")) == 1


def test_a_row_that_is_undefined_on_a_slide_is_listed_and_not_ranked():
    found = board(record("part", [0.9, 0.9, 0.9, None]), record("whole", [0.1, 0.2, 0.3, 0.4]))
    assert names(found) == ["whole"]
    assert [row[:2] for row in table_of(found, ["pcc"]).rows] == [["", "part"], ["1", "whole"]]


def her2st(test, **changes):
    patients = {"a1": "patient_a", "a2": "patient_a", "b1": "patient_d", **dict.fromkeys(TEST, test)}
    return facts(dataset="her2st", patients=patients, **changes)


@pytest.mark.parametrize(("preset", "patient", "mark"), [
    ("small", "patient_g", "T"), ("small", "patient_f", "T"), ("small", "patient_e", ""), ("paper", "patient_g", ""),
])  # fmt: skip
def test_a_preset_that_was_tuned_on_the_block_that_is_tested(preset, patient, mark):
    task = her2st(patient)
    run = record("flag", [0.6] * 4, "generative", task=task, preset=preset, entry=method_cards()["flag"].entry)
    found = board(run, record("ridge", RIDGE, "control", task=task))
    assert marks(found)["flag"] == mark
    assert names(found) == (["ridge"] if mark else ["flag", "ridge"])
    if mark:
        assert verdict(found).startswith("No method may be ranked here: `T` its preset was tuned on a test slide")
        assert f"`T` {patient}: flag." in protocol_page(found)


def test_nobody_is_called_barred_where_a_method_is_ranked_and_only_a_control_lacks():
    task = her2st("patient_g")
    run = record("flag", [0.6] * 4, "generative", task=task, preset="small", entry=method_cards()["flag"].entry)
    found = board(run, record("x", [0.5] * 4, task=task))
    assert names(found) == ["x"]
    assert verdict(found) == "No control is ranked here; the best method is `x`, with a PCC of 0.500."


def test_a_method_of_the_same_name_from_elsewhere_was_tuned_by_nobody_we_know():
    run = record("flag", [0.6] * 4, "generative", task=her2st("patient_g"), preset="small", entry="mine.py:Flag")
    assert marks(board(run))["flag"] == ""


def test_presets_say_what_they_were_tuned_on_under_their_own_name():
    for card in method_cards().values():
        assert card.tuned.keys() <= card.presets.keys()


def sampler(name, crps, kind="generative"):
    drawn = {metric: summarise_draws({slide: [0.1, 0.2] for slide in TEST}) for metric in ("pcc",)}
    scores = {"pcc": summarise(dict.fromkeys(TEST, 0.3)), "crps": summarise(dict(zip(TEST, crps, strict=True)))}
    return record(name, kind=kind, metrics=scores, metrics_single_draw=drawn, draws=2)


def test_samplers_are_held_against_the_gaussian_one():
    bar = sampler("linear-gaussian", [0.40, 0.41, 0.42, 0.43], "control")
    better = sampler("sharp", [0.30, 0.312, 0.321, 0.329])
    alike = sampler("alike", [0.39, 0.42, 0.42, 0.44])
    found = board(bar, better, alike, record("point", metrics={"crps": summarise(dict.fromkeys(TEST, 0.9))}))
    assert samplers_not_better(found) == {"alike, mean of 2"}
    cells = {row[1].split(",")[0]: row[-1] for row in table_of(found, ["pcc", "crps"]).rows if "mean of" in row[1]}
    assert cells["alike"].endswith(" !")
    assert not cells["sharp"].endswith(" !")
    assert "a sampler not below `linear-gaussian`" in protocol_page(found, metrics=["pcc", "crps"])


def test_dressed_numbers_carry_their_mark():
    scores = {"pcc": summarise(dict.fromkeys(TEST, 0.3)), "crps": summarise(dict.fromkeys(TEST, 0.4), dressed=True)}
    found = board(record("x", metrics=scores))
    assert table_of(found, ["crps"]).rows[0][-1].endswith(" n")


def test_weights_that_saw_expression_of_the_cohort_are_listed_and_not_ranked():
    task = her2st("patient_e")
    run = record("x", [0.6] * 4, task=task, pretrained={"method": "stpath/unknown"})
    found = board(run, record("ridge", RIDGE, "control", task=task))
    assert marks(found)["x"] == "C"
    assert names(found) == ["ridge"]
    assert "`C` pretrained weights behind it saw slides of the cohort" in protocol_page(found)


def test_weights_of_unknown_origin_are_ranked_and_marked():
    task = her2st("patient_e", encoder="virchow2/" + "0" * 64)
    found = board(record("x", [0.6] * 4, task=task), record("ridge", RIDGE, "control", encoder="none", task=task))
    assert marks(found)["x"].endswith("c")
    assert marks(found)["ridge"] in ("", "=")
    assert names(found) == ["x", "ridge"]


@pytest.mark.parametrize(("secret", "published", "places"), [
    (None, None, []), ("5" * 64, None, ["x", "ridge"]), ("5" * 64, "a" * 64, []),
])  # fmt: skip
def test_nothing_is_ranked_where_the_truth_of_new_patients_can_be_generated(secret, published, places):
    task = facts(dataset="simulated", simulated=True, secret=secret, published=published)
    found = board(record("x", [0.6] * 4, task=task), record("ridge", RIDGE, "control", task=task))
    assert names(found) == places
    said = (
        "Nothing is ranked here: the seed of the cohort is public, so that its truth can be generated. The highest, `x`"
    )
    assert verdict(found).startswith(said) is not bool(places)


def test_a_closed_board_stays_ranked_and_a_later_row_is_not():
    task = facts(dataset="simulated", simulated=True, secret="5" * 64, published="a" * 64)
    kept = [record("x", [0.6] * 4, task=task), record("ridge", RIDGE, "control", task=task)]
    kept = [one.model_copy(update={"closed_with": True}) for one in kept]
    found = board(*kept, record("late", [0.9] * 4, task=task))
    assert names(found) == ["x", "ridge"]
    assert verdict(found).startswith("The best method in PCC is `x`")
    assert "- Run with a public seed, not ranked: late." in protocol_page(found)
    assert "public seed" not in protocol_page(board(*kept))


@pytest.mark.parametrize(("kind", "said"), [
    ("control", "No method is ranked here; the best control is `x`, with a PCC of 0.600."),
    ("generative", "No control is ranked here; the best method is `x`, with a PCC of 0.600."),
])  # fmt: skip
def test_a_lone_row_is_named(kind, said):
    assert verdict(board(record("x", [0.6] * 4, kind))) == said


def test_rows_whose_spread_was_fitted_are_named():
    wide = record("x", [0.6] * 4).model_copy(update={"settings": {"calibrate": True}})
    said = "CRPS is that of any number of such draws: x."
    assert said in protocol_page(board(wide, record("ridge", RIDGE, "control")))
    assert said not in protocol_page(board(record("x", [0.6] * 4)))


def test_known_patients_of_a_public_seed_are_ranked_as_a_leaky_table_is():
    patients = {"a1": "pt1", **facts().patients, "b1": "pt1"}
    task = facts(dataset="simulated", simulated=True, patients=patients)
    assert names(board(record("x", [0.6] * 4, task=task))) == ["x"]
