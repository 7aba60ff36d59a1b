"""What predictions are worth gene by gene, from the folds of a run."""

import numpy as np
import pytest
from scipy import stats

from stbench.errors import DataError
from stbench.pages.worth import worth_of

from .test_protocol import PATIENTS, facts, record

GENES = ["A", "B", "absent"]


def runs(method, by_patient, kind="discriminative", patients=PATIENTS, **changes):
    """A record per fold; ``by_patient`` gives PCC of genes A and B."""
    found = []
    for patient in patients:
        task = changes.get("task") or facts(patient)
        shifts = zip(task.test, (-0.1, 0.1), strict=True)
        per = {slide: [value + shift for value in by_patient(patient)] for slide, shift in shifts}
        found.append(record(method, [0.1, 0.1], patient, kind=kind, per_gene={"pcc": per}, **changes))
    return found


def steps(patient):
    place = PATIENTS.index(patient)
    return [0.3 + 0.02 * place, 0.1 * place - 0.25]


def asked(records, **changes):
    said = {"method": "x", "settings": {}, "scale": "log1p", "encoder": "handcrafted-v1/1", "genes": GENES, **changes}
    return worth_of(records, **said)


def test_interval_best_control_and_ceiling_of_every_gene():
    records = [
        *runs("x", steps), *runs("ridge", lambda _: [0.2, 0.3], "control"),
        *runs("mean", lambda _: [0.0, 0.4], "control"),
        *runs("ceiling-count-split", lambda _: [0.9, 0.8], "ceiling"),
    ]  # fmt: skip
    first, second, absent = asked(records)
    values = [steps(patient)[0] for patient in PATIENTS]
    half = stats.t.ppf(0.975, 5) * np.std(values, ddof=1) / 6**0.5
    assert (first.pcc, first.low, first.high) == pytest.approx((0.35, 0.35 - half, 0.35 + half))
    assert (first.patients, first.control, first.control_pcc, first.ceiling) == pytest.approx((6, "ridge", 0.2, 0.9))
    assert first.trusted
    assert (second.control, second.trusted) == ("mean", False)
    assert (absent.patients, absent.pcc, absent.trusted) == (0, None, False)


def test_a_gene_below_a_control_or_of_few_patients_is_not_trusted():
    above = runs("ridge", lambda _: [0.4, 0.0], "control")
    assert not asked([*runs("x", steps), *above])[0].trusted
    few = asked(runs("x", steps, patients=PATIENTS[:3]))[0]
    assert (few.patients, few.low, few.trusted) == (3, None, False)


@pytest.mark.parametrize("changes", [
    {"method": "y"}, {"settings": {"a": 1}}, {"scale": "cp10k-log1p"}, {"encoder": "handcrafted-v2/1"},
])  # fmt: skip
def test_runs_of_something_else_say_nothing(changes):
    with pytest.raises(
        DataError, match=r"--worth: expected a finished run of . with the same settings, .*--split lopo"
    ):
        asked(runs("x", steps), **changes)


def test_patients_who_trained_or_are_unknown_say_nothing():
    leaky = facts("P0", train=["P0-1", "P2-0"])
    unknown = facts("P0", patients={**facts("P0").patients, "P0-0": None})
    for task in (leaky, unknown):
        with pytest.raises(DataError, match="found none"):
            asked(runs("x", steps, patients=["P0"], task=task))


def test_who_sees_the_truth_is_no_control_to_be_beaten():
    oracle = runs("total-counts", lambda _: [0.9, 0.9], "oracle")
    first, *_ = asked([*runs("x", steps), *oracle])
    assert (first.control, first.trusted) == ("", True)
