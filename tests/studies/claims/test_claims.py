"""Our number beside a claim, and whether both are of one experiment, from records made by hand."""

import pytest

from stbench.catalogue import find_dataset, find_paper
from stbench.catalogue.papers import Claim, Measure
from stbench.evaluation.summaries import summarise, summarise_draws
from stbench.studies.claims.data import lacking, stand_in
from stbench.studies.claims.measured import Number, number_of, single_draw
from stbench.studies.claims.page import ClaimPage, page, table_of
from stbench.studies.claims.protocol import SPLIT_UNTOLD, verdict_of
from stbench.studies.claims.results import Compared
from stbench.studies.claims.tables import chosen, tables_of

from ...grids.conftest import SLIDES, facts, record

PAPER = find_paper("2605.18055")
(MAIN,) = chosen(PAPER, ["1"])
FLAG = next(claim for claim in MAIN.claims() if (claim.dataset, claim.method) == ("kidney", "flag"))
STFLOW = next(claim for claim in MAIN.claims() if (claim.dataset, claim.method) == ("kidney", "stflow"))
PCC = Measure(metric="pcc")
KIDNEY = {entry.id: entry for entry in find_dataset("kidney").slides}


def kidney(size=200, **changes):
    """A task on all slides of KIDNEY, as a record of the reported experiment has it."""
    names = list(KIDNEY)
    said = {
        "dataset": "kidney",
        "train": names[:16],
        "validation": names[16:18],
        "test": names[18:],
        "patients": {name: entry.patient for name, entry in KIDNEY.items()},
        "n_spots": {name: entry.n_spots for name, entry in KIDNEY.items()},
        "encoder": "uni/abc",
    }
    return facts(size, **{**said, **changes})


def run(task, method="stflow", **changes):
    found = record(method, task, [0.1, 0.2, 0.6], **{"preset": "paper", **changes})
    values = dict(zip(task.test, [0.1, 0.2, 0.3, 0.4, 0.5], strict=False))
    return found.model_copy(update={"metrics": {"pcc": summarise(values)}})


def test_the_mean_over_slides_of_the_mean_over_seeds():
    runs = [
        record("flag", facts(5), values, seed=seed) for seed, values in enumerate(([0.1, 0.2, 0.6], [0.3, 0.4, 0.8]))
    ]
    found = number_of(runs, PCC)
    assert found.mean == pytest.approx(0.4)
    assert found.over_slides == pytest.approx(0.26457513110645907)  # of .2, .3, .7
    assert found.over_seeds == pytest.approx(0.2 / 2**0.5)
    assert found.over_draws is None
    assert number_of(runs[:1], PCC).over_seeds is None
    assert number_of(runs, Measure(metric="pcc", times=100.0)).mean == pytest.approx(40)
    assert number_of(runs, Measure(metric="crps")) is None


def test_one_slide_goes_by_its_id_or_its_section():
    names = {"SPA148": "B1", "SPA154": "A1"}
    task = facts(
        5, dataset="her2st", test=list(names.values()), patients=dict.fromkeys(["a1", "b1", *names.values()], "c")
    )
    found = record("flag", task, [0, 0, 0]).model_copy(update={"metrics": {"pcc": summarise({"B1": 0.25, "A1": 0.75})}})
    assert number_of([found], Measure(metric="pcc", slide="SPA148")).mean == 0.25
    assert number_of([found], Measure(metric="pcc", slide="SPA130")) is None
    untold = verdict_of(MAIN, FLAG, Measure(metric="pcc", slide="SPA130"), [found])
    assert "SPA130 does not test in this split; another --split-seed may hold it" in untold.differs


def test_what_is_pooled_is_averaged_over_folds():
    def fold(value, hash_):
        pooled = summarise({}).model_copy(update={"mean": value})
        return record("ridge", facts(5, hash=hash_), [0, 0, 0]).model_copy(update={"metrics": {"pooled-pcc": pooled}})

    found = number_of([fold(0.25, "a"), fold(0.75, "b")], Measure(metric="pooled-pcc"))
    assert (found.mean, found.over_slides) == (0.5, None)


def test_draws_stand_apart_from_their_mean():
    drawn = summarise_draws({slide: [0.1, 0.3] for slide in SLIDES})
    found = record("flag", facts(5), [0.4, 0.5, 0.6], draws=2, metrics_single_draw={"pcc": drawn})
    assert number_of([found], PCC).mean == pytest.approx(0.5)
    single = single_draw([found], PCC)
    assert (single.mean, single.over_draws) == (pytest.approx(0.2), pytest.approx(0.2 / 2**0.5))
    assert number_of([found], Measure(metric="pcc", way="single draw")) == single
    assert single_draw([record("ridge", facts(5), [0, 0, 0])], PCC) is None


def test_costs_are_those_of_the_record():
    runs = [record("flag", facts(5), [0, 0, 0], seed=seed, peak_gpu_memory_mb=2048.0) for seed in (0, 1)]
    assert number_of(runs, Measure(of="fit-seconds")) == Number(2.5)
    assert number_of(runs, Measure(of="predict-seconds")) == Number(1.0)
    assert number_of(runs, Measure(of="peak-gpu-gb")) == Number(2.0)
    assert number_of([record("flag", facts(5), [0, 0, 0])], Measure(of="peak-gpu-gb")) is None
    assert number_of(runs, Measure(of="nothing")) is None


def test_the_reported_experiment_is_known_but_for_its_split():
    found = verdict_of(MAIN, STFLOW, PCC, [run(kidney())])
    assert (found.said, found.differs, found.untold) == ("not known", (), (SPLIT_UNTOLD,))
    told = MAIN.model_copy(update={"conditions": MAIN.conditions.model_copy(update={"split": None})})
    assert verdict_of(told, STFLOW, PCC, [run(kidney())]).said == "yes"
    drawn = verdict_of(told, STFLOW, PCC, [run(kidney(), draws=5)])
    assert (drawn.said, drawn.reasons) == ("not known", ("mean of 5 draws; how many the paper averages is not said",))


@pytest.mark.parametrize(
    ("task", "changes", "said"),
    [
        ({"encoder": "handcrafted-v1/1"}, {}, "encoder handcrafted-v1 for uni"),
        ({"size": 50}, {}, "genes 50 for 200"),
        ({"normalization": "log2p1: base 2"}, {}, "scale log2p1 for log1p"),
        ({"protocol": "lopo-patient_1", "rule": "lopo"}, {}, "split lopo for slide"),
        ({"simulated": True}, {}, "a stand-in: simulated slides"),
        ({}, {"preset": "small"}, "preset small for paper"),
    ],
)
def test_a_difference_is_said_in_words(task, changes, said):
    found = verdict_of(MAIN, STFLOW, PCC, [run(kidney(**task), **changes)])
    assert (found.said, found.differs) == ("no", (said,))


def test_settings_by_hand_and_vectors_are_compared_for_the_method_that_has_them():
    settings = {"prior": "zinb", "lr": 1.0}
    assert verdict_of(MAIN, STFLOW, PCC, [run(kidney(), settings=settings)], ["flag.lr=1"]).differs == ()
    assert verdict_of(MAIN, STFLOW, PCC, [run(kidney(), settings=settings)], ["lr=1"]).differs == ("lr=1 by hand",)
    own = {"settings": {"prior": "coexpression"}}
    assert verdict_of(MAIN, FLAG, PCC, [run(kidney(), "flag", **own)]).differs == ("prior coexpression for geneformer",)
    given = {"settings": {"prior": "file:x"}, "pretrained": {"prior": "geneformer/abc"}}
    assert verdict_of(MAIN, FLAG, PCC, [run(kidney(), "flag", **given)], ["flag.prior=file:x"]).differs == ()
    table = {"settings": {"prior": "file:x"}, "pretrained": {"prior": "table/abc"}}
    (said,) = verdict_of(MAIN, FLAG, PCC, [run(kidney(), "flag", **table)]).differs
    assert said == "prior of an unnamed table for geneformer"


def test_slides_of_another_size_are_no_slides_of_the_cohort():
    sizes = {name: entry.n_spots for name, entry in KIDNEY.items()}
    assert stand_in(kidney()) == ""
    assert stand_in(kidney(n_spots={**sizes, "NCBI692": 369})) == ""  # readers leave single spots out
    for n in (371, 300):
        found = stand_in(kidney(n_spots={**sizes, "NCBI692": n}))
        assert found == f"1 slide of 23 with another number of spots than the cohort's (NCBI692: {n}, not 370)"
    few = kidney(train=["NCBI692"], validation=["NCBI693"], test=["NCBI697"])
    assert verdict_of(MAIN, STFLOW, PCC, [run(few)]).differs == ("3 of the cohort's 23 slides",)


def test_no_difference_is_given_for_other_slides_or_quantities():
    one = Compared(STFLOW, PCC, (run(kidney()),), number=Number(0.5))
    assert one.difference == pytest.approx(0.5 - 0.3145)
    assert Compared(STFLOW, PCC, one.records, number=Number(0.5), stand_in="simulated slides").difference is None
    assert Compared(STFLOW, Measure(of="fit-seconds"), one.records, number=Number(0.5)).difference is None
    assert Compared(STFLOW, PCC, reason="no slides").same == "not run"


def test_a_page_of_the_cohorts_own_slides():
    runs = (run(kidney()),)
    found = Compared(STFLOW, PCC, runs, "", number_of(runs, PCC), None, verdict_of(MAIN, STFLOW, PCC, runs))
    text = page(ClaimPage(PAPER, MAIN, [found], [], "stbench claims 2605.18055 --table 1"))
    assert "Stand-in" not in text
    assert "| kidney | stflow | PCC ↑ | 0.3145 ± 0.0065 | 0.3000 ± 0.1581 | -0.0145 | not known (1) |" in text
    assert f"- (1) {SPLIT_UNTOLD}" in text


def test_columns_tell_claims_apart():
    claims = [Claim("x", "prad", "ridge", 50, "", "pearson", 0.5, None, name) for name in ("uni", "conch")]
    shown = ClaimPage(PAPER, MAIN, [Compared(claim, PCC, reason="no slides") for claim in claims], [], "")
    assert table_of(shown).head[:4] == ["dataset", "method", "encoder", "metric"]
    assert table_of(shown).rows[0] == ["prad", "ridge", "uni", "pearson", "0.5", "-", "-", "not run (no slides)"]


def test_every_table_is_of_results_or_says_where_its_facts_stand():
    for paper in (PAPER, find_paper("hest-benchmark")):
        for one in tables_of(paper):
            assert any(one.claims()) or one.shown.startswith("stbench ")


def test_generated_cohorts_lack_nothing():
    assert lacking("simulated", None) == ""
    assert "stbench datasets fetch kidney --source hest --data-root DIR" in lacking("kidney", None)
