"""Rows whose settings a study chose: their names, the mark of what was tuned on a block, what a page says of them."""

import pytest

from stbench.catalogue import method_cards
from stbench.evaluation.record import Tuned
from stbench.pages.leaderboard import protocol_page
from stbench.pages.marks import marks
from stbench.pages.protocol import boards_of
from stbench.pages.sections import sections
from stbench.pages.tuned import chosen_on

from .test_leaderboard import TEST, facts, record


def tuned(study="a" * 64, slides=("a1", "b1"), **changes):
    said = {"study": study, "trial": 2, "trials": 5, "objective": "pcc", "value": 0.03, "default": 0.01}
    return Tuned(**{**said, "slides": list(slides), "settings": {"k": 7}, **changes})


def folds(*rows):
    """Two folds of one rule; a row is a function of the fold's number and task."""
    found = []
    for number in (1, 2):
        task = facts(
            hash=str(number) * 64, protocol=f"lopo-{number}", rule="lopo", protocol_hash="p" * 64,
            patients={"a1": "a", "a2": "a", "b1": "b", **dict.fromkeys(TEST, f"t{number}")},
        )  # fmt: skip
        found += [row(number, task) for row in rows]
    (board,) = boards_of(sections(found))
    return board


def default(number, task):
    return record("flag", [0.5] * 4, "generative", task=task, settings={"k": 5, "lr": 0.1})


def chosen(number, task, **changes):
    """Other settings in every fold, in the second fold the preset's own."""
    settings = {"k": 7 if number == 1 else 5, "lr": 0.1}
    said = tuned(trial=number % 2, **changes)
    return record("flag", [0.6] * 4, "generative", task=task, settings=settings, tuned=said)


def test_one_row_over_all_folds_beside_the_default_one():
    board = folds(default, chosen)
    assert sorted(line.label for line in board.lines) == ["flag", "flag (tuned)"]
    assert all(set(line.folds.values()) == {2} for line in board.lines)
    assert "(5 trials by pcc, the preset's own in 1 fold; study aaaaaaaa)" in protocol_page(board)


def test_two_studies_of_a_method_are_two_rows():
    def other(number, task):
        return chosen(number, task, study="b" * 64)

    labels = {line.label for line in folds(default, chosen, other).lines}
    assert labels == {"flag", "flag (tuned in aaaaaaaa)", "flag (tuned in bbbbbbbb)"}


def test_what_is_given_by_hand_stands_in_the_name_too():
    def by_hand(number, task):
        return chosen(number, task).model_copy(update={"request": {"overrides": ["flag.lr=0.1"]}})

    assert [line.label for line in folds(by_hand).lines] == ["flag (tuned, lr=0.1)"]


def test_pages_of_before_say_nothing_of_studies():
    assert "(tuned)" not in protocol_page(folds(default))


def her2st(test, dataset="her2st", **changes):
    patients = {"a1": "patient_a", "a2": "patient_a", "b1": "patient_d", **dict.fromkeys(TEST, test)}
    return facts(dataset=dataset, patients=patients, **changes)


def flag(task, preset="paper", **changes):
    entry = method_cards()["flag"].entry
    return record("flag", [0.6] * 4, "generative", task=task, preset=preset, entry=entry, **changes)


def test_a_study_that_touched_no_slide_of_the_block_leaves_no_mark():
    run = flag(her2st("patient_g"), tuned=tuned())
    assert chosen_on(run) == []
    (board,) = boards_of(sections([run]))
    assert marks(board)["flag (tuned)"] == ""
    assert "That no test slide had a part in it" in protocol_page(board)


def test_a_study_on_another_slide_of_the_patient_does():
    task = her2st("patient_a")
    run = flag(task, tuned=tuned())
    assert chosen_on(run) == ["patient_a"]
    (board,) = boards_of(sections([run]))
    assert "T" in marks(board)["flag (tuned)"]
    assert "Inner folds held slides of patients that test: flag (patient_a)." in protocol_page(board)


def test_a_study_does_not_wash_a_preset_clean_that_it_starts_from():
    assert chosen_on(flag(her2st("patient_g"), preset="small", tuned=tuned())) == ["patient_g"]


def test_nothing_is_claimed_of_unknown_patients():
    task = her2st("patient_g")
    task = task.model_copy(update={"patients": {**task.patients, "a1": None}})
    (board,) = boards_of(sections([flag(task, tuned=tuned())]))
    assert "whether its patient is, unknown ones do not say" in protocol_page(board)


@pytest.mark.parametrize(("dataset", "changes", "patients"), [
    ("her2st", {}, ["patient_g"]),
    ("her2st-semisynthetic", {"semi_synthetic": True}, ["patient_g"]),  # made from the counts of the same slides
    ("simulated", {"simulated": True}, []),
    ("mine", {}, []),
])  # fmt: skip
def test_a_block_is_a_patient_in_every_cohort_made_from_one(dataset, changes, patients):
    assert chosen_on(flag(her2st("patient_g", dataset, **changes), preset="small")) == patients


def test_a_block_of_another_cohort_that_tests():
    task = her2st("her2st-patient_g", "mine-to-her2st", test_dataset="her2st")
    assert chosen_on(flag(task, preset="small")) == ["her2st-patient_g"]


@pytest.mark.parametrize(("changes", "request_", "patients"), [
    ({}, {"simulate": ["seed=1", "n_spots=90"]}, ["P01"]),
    ({}, {"simulate": ["seed=2"]}, []),
    ({}, {}, []),
    ({"secret": "5" * 64}, {"simulate": ["seed=1"]}, []),  # a secret seed makes other patients of that name
])  # fmt: skip
def test_patients_of_another_seed_are_others(monkeypatch, changes, request_, patients):
    card = method_cards()["flag"].model_copy(update={"tuned": {"small": {"simulated seed=1": ["P01"]}}})
    monkeypatch.setattr("stbench.pages.tuned.method_cards", lambda: {"flag": card})
    task = facts(dataset="simulated", simulated=True, patients=dict.fromkeys(TEST, "P01"), **changes)
    assert chosen_on(flag(task, preset="small", request=request_)) == patients


def test_what_a_preset_had_seen_when_it_ran_counts_though_its_card_says_something_else_since():
    task = her2st("patient_g")
    assert chosen_on(flag(task, preset="small", preset_saw={"her2st": ["patient_d"]})) == []
    assert chosen_on(flag(task, preset="paper", preset_saw={"her2st": ["patient_g"]})) == ["patient_g"]
