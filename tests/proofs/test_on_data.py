"""Nothing is to be gained by cheating: who looks at the truth is caught, or finds none."""

from dataclasses import replace
from functools import cache as cache_of_calls
from pathlib import Path

import numpy as np
import pytest

from stbench.data.cohort import Cohort
from stbench.data.slide import SlideRef
from stbench.errors import DataError, SettingError
from stbench.evaluation.build import build_task
from stbench.evaluation.check_request import CheckRequest
from stbench.evaluation.plan import plan
from stbench.evaluation.record import read_record
from stbench.evaluation.run import run_method
from stbench.grids.cells import Cell, MethodRun
from stbench.grids.desk import Desk
from stbench.grids.execute import execute
from stbench.methods.base import SlideInputs
from stbench.methods.registry import method_class
from stbench.proofs.contract import CheckResult
from stbench.proofs.on_data import DRAWS, SCRAMBLE, check_on_data
from stbench.proofs.scramble import moved, scrambled

from ..evaluation.conftest import make_slide


class Quiet:
    def started(self, cell): ...
    def progressed(self, cell, text): ...
    def said(self, cell, message): ...
    def finished(self, cell, outcome): ...


CHEATS = Path(__file__).with_name("cheats.py")
TINY = ("n_patients=3", "sections_per_patient=1", "n_spots=16", "n_genes=30", "um_per_px=4")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache that all tests share: the slides are made once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def planned(cache):
    """Plans one method on the tiny simulated cohort."""

    def make(name, simulate=TINY, **asked):
        method = f"{CHEATS}:{name}" if name[0].isupper() else name
        said = {"dataset": "simulated", "genes": (4,), "encoder": "mean-rgb", "simulate": simulate, "preset": "small"}
        return plan(CheckRequest(**{**said, **asked}).of(method), cache)

    return make


@pytest.fixture
def checked(planned, tmp_path):
    """Checks one method on the tiny simulated cohort."""

    def check(name, **asked):
        return {result.name: result for result in check_on_data(planned(name, **asked), tmp_path)}

    return check


@pytest.fixture(scope="session")
def alone(planned, tmp_path_factory):
    """Record of one method on the tiny cohort, in a worker, with nothing beside it."""

    @cache_of_calls
    def run(name, simulate=TINY):
        one, out = planned(name, simulate), tmp_path_factory.mktemp("alone")
        cell = cell_of(one)
        execute([cell], Desk.of(one), out, 1, Quiet())
        return read_record(out / cell.folder)

    return run


def cell_of(one, card=None):
    run = MethodRun(card or one.runs[0].card, "small", {})
    return Cell(run.card.name, run.card.name, "", one.task(one.folds[0], 4, "log1p"), run)


@pytest.mark.parametrize("name", ["Honest", "linear-gaussian"])
def test_who_predicts_passes(checked, name):
    found = checked(name)
    assert found[SCRAMBLE].passed, found[SCRAMBLE].detail
    assert found[SCRAMBLE].detail.startswith("1 test slide predicted the same; a generated cohort")
    assert found[DRAWS].passed, found[DRAWS].detail
    assert (found[DRAWS].detail == "a point prediction") == (name != "linear-gaussian")


@pytest.mark.parametrize("name", ["ReadsBase", "WalksGarbage"])
def test_in_a_worker_there_is_nothing_to_find(checked, alone, name):
    """Cheats (a) and (b) predict what they would predict without looking."""
    assert checked(name)[SCRAMBLE].passed
    assert alone(name).predictions == alone("Honest").predictions


def test_what_the_base_of_an_array_would_betray(planned):
    """Cheat (a) finds what it looks for where labels and truth are views of one array."""
    truth, label = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    cheat = method_class(planned("ReadsBase").runs[0].card)()
    cheat.labels, cheat.genes_ = [label], ["A", "B"]
    slide = make_slide("P0-s0", "P0").take(np.arange(3))
    inputs = SlideInputs("s", None, np.zeros((3, 1), dtype=np.float32), slide.xy)
    np.testing.assert_array_equal(cheat.peek(inputs), truth)


def test_what_the_garbage_collector_would_betray(planned, cache, tmp_path):
    """Cheat (b) finds what it looks for in a process that has the truth."""
    one = planned("WalksGarbage")
    task = build_task(one.cohort, one.card, cell_of(one).task, cache, encoder=one.encoder)
    record = run_method(task, one.runs[0].card, folder=tmp_path / "here")
    assert record.predictions != run_method(task, planned("Honest").runs[0].card, folder=tmp_path / "b").predictions


def test_what_other_runs_left_is_caught(checked, alone):
    """Cheat (c) finds the predictions of oracles and ceilings; where there are none, nothing."""
    found = checked("ReadsSiblings")[SCRAMBLE]
    assert (found.passed, found.detail) == (
        False, "moving the counts of 1 test slide changes what is predicted of P02S1"
    )  # fmt: skip
    assert alone("ReadsSiblings").predictions == alone("Honest").predictions


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_the_open_files_of_the_process_that_scores_are_caught(checked):
    assert "changes what is predicted of P02S1" in checked("ReadsParent")[SCRAMBLE].detail


def test_a_cohort_generated_again_is_not_caught_and_a_secret_seed_hides_it(checked, alone):
    """Cheat (d): features and names hold all it needs, so the scramble sees nothing, and says that it cannot."""
    found = checked("Regenerates")[SCRAMBLE]
    assert found.passed
    assert "can be generated again, which no scramble shows" in found.detail
    assert alone("Regenerates").metrics["pcc"].mean == pytest.approx(1)
    secret = (*TINY, "seed=8191")
    assert alone("Regenerates", secret).predictions == alone("Honest", secret).predictions


@pytest.mark.slow
def test_a_cohort_with_a_secret_seed_is_checked_alike(checked, tmp_path_factory):
    seed = tmp_path_factory.mktemp("kept") / "board.seed"
    assert checked("Honest", secret=seed)[SCRAMBLE] == CheckResult(SCRAMBLE, True, "1 test slide predicted the same")
    assert "changes what is predicted of" in checked("ReadsSiblings", secret=seed)[SCRAMBLE].detail


def test_who_never_repeats_is_not_accused(checked):
    found = checked("Tosses")[SCRAMBLE]
    assert (found.passed, found.detail) == (False, "cannot tell: the same run twice does not predict the same")


@pytest.mark.parametrize(("name", "kind"), [("total-counts", "oracle"), ("best-from-truth", "ceiling")])
def test_who_is_given_the_truth_is_exempt(checked, name, kind):
    assert checked(name)[SCRAMBLE] == CheckResult(
        SCRAMBLE, True, f"exempt: a method of kind {kind} is given the truth"
    )  # fmt: skip


def test_draws_of_the_real_run_are_looked_at(checked):
    assert "correlated by -1.00" in checked("Mirrors")[DRAWS].detail


def test_a_method_that_fails_is_not_checked(checked):
    found = checked("Fails")
    assert {result.passed for result in found.values()} == {False}
    assert found[SCRAMBLE].detail == "not checked: failed: ZeroDivisionError: no"


def test_one_of_everything(planned, tmp_path):
    with pytest.raises(SettingError, match="--seeds: expected one for a check, found 2; leave one"):
        check_on_data(planned("Honest", seeds=(0, 1)), tmp_path)


def test_features_made_of_counts_are_refused(planned, tmp_path, monkeypatch):
    """Else predictions might differ for a reason that is no fault of the method."""
    one = planned("Honest")
    monkeypatch.setattr("stbench.proofs.on_data.scrambled", with_other_positions)
    with pytest.raises(DataError, match=r"found that encoder mean-rgb reads counts; choose another --encoder"):
        check_on_data(one, tmp_path)


def with_other_positions(cohort, ids):
    def read(id_):
        slide = cohort.load(id_)
        slide.adata.obsm["spatial"] = slide.xy[::-1].copy()
        return slide

    return replace(cohort, reader=read)


@pytest.mark.parametrize("per_fold", [False, True])
def test_slides_made_for_a_fold_are_scrambled_as_the_fold_has_them(per_fold):
    slides = {id_: make_slide(id_, "P0") for id_ in ("a", "b")}
    refs, given = tuple(SlideRef(id_, "P0") for id_ in slides), []

    def made(train, ids):
        given.append((train, ids))
        return slides.__getitem__

    cohort = Cohort("c", "made", refs, slides.__getitem__, per_fold=made if per_fold else None)
    found = scrambled(cohort, ["b"]).of_fold(["a"])
    assert given == ([(("a",), ("a", "b"))] if per_fold else [])
    np.testing.assert_array_equal(found.load("a").counts.toarray(), slides["a"].counts.toarray())
    np.testing.assert_array_equal(found.load("b").counts.toarray(), moved(slides["b"]).counts.toarray())


def test_every_spot_gets_the_counts_of_another():
    slide = make_slide("P0-s0", "P0")
    slide.adata.layers["expected"] = slide.adata.X.toarray() + 0.5
    slide.adata.obsm["cell_types"] = np.arange(slide.n_spots)[:, None]
    found = moved(slide)
    before, after = slide.counts.toarray(), found.counts.toarray()
    assert sorted(map(tuple, before)) == sorted(map(tuple, after))
    origin = found.adata.obsm["cell_types"][:, 0]
    assert not (origin == np.arange(slide.n_spots)).any()
    np.testing.assert_array_equal(after, before[origin])
    np.testing.assert_array_equal(found.total_counts, slide.total_counts[origin])
    np.testing.assert_array_equal(found.adata.layers["expected"], after + 0.5)
    np.testing.assert_array_equal(found.xy, slide.xy)
    assert (found.spot_ids, found.genes, found.image) == (slide.spot_ids, slide.genes, slide.image)
