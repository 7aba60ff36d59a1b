"""A task with a cache maps its arrays from disk and is otherwise the task without one."""

from mmap import mmap

import numpy as np
import pytest

from stbench.evaluation.build import build_task
from stbench.evaluation.run import run_method
from stbench.methods.base import Context
from stbench.methods.flag import Flag
from stbench.methods.flag.settings import FlagSettings
from stbench.methods.nn.scaling import standardized
from stbench.methods.registry import find_method

from .conftest import labelled, make_cohort


@pytest.fixture
def mapped(slides, card, settings, tmp_path):
    return build_task(make_cohort(slides), card, settings, tmp_path)


def test_a_cache_changes_no_bit(task, mapped):
    assert mapped.facts == task.facts
    for encoder in (None, "none"):
        one, other = task.given(encoder, "truth"), mapped.given(encoder, "truth")
        first, second = one.inputs(), other.inputs()
        for id_, inputs in first.items():
            for name in ("features", "xy", "array_xy", "total_counts", "oracle_expression"):
                np.testing.assert_array_equal(getattr(inputs, name), getattr(second[id_], name))
        for some, others in zip(one.labelled(first), other.labelled(second), strict=True):
            for a, b in zip(some, others, strict=True):
                assert a.inputs.slide_id == b.inputs.slide_id
                np.testing.assert_array_equal(a.expression, b.expression)
    for a, b in zip(task.test, mapped.test, strict=True):
        np.testing.assert_array_equal(a.expression, b.expression)
    for id_ in task.facts.n_spots:
        kept, again = task.kept(id_), mapped.kept(id_)
        assert (kept.genes, kept.spot_ids) == (again.genes, again.spot_ids)
        assert again.counts.dtype == np.int32
        np.testing.assert_array_equal(kept.counts.toarray(), again.counts.toarray())


def test_features_expression_and_counts_are_mapped(mapped):
    train, validation = labelled(mapped)
    for slide in [*train, *validation]:
        assert _backed(slide.inputs.features)
    for slide in [*train, *validation, *mapped.test]:
        assert _backed(slide.expression)
    counts = mapped.kept("P0-s0").counts
    assert all(_backed(part) for part in (counts.data, counts.indices, counts.indptr))


def _backed(array):
    """Whether what an array shows lies in a mapped file."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap)


def test_arrays_of_a_task_with_a_cache_are_fresh(mapped):
    first = labelled(mapped)[0][0]
    first.expression[:] = 7
    first.inputs.features[:] = 7
    again = labelled(mapped)[0][0]
    assert not (again.expression == 7).all()
    assert not (again.inputs.features == 7).all()


def test_no_truth_of_test_slides_is_given(mapped):
    given = mapped.given()
    assert set(given.labels.fresh()) == {*mapped.facts.train, *mapped.facts.validation}
    assert given.secrets is None
    truth = {slide.inputs.slide_id: slide.expression for slide in mapped.test}
    for id_, inputs in given.inputs().items():
        assert inputs.total_counts is inputs.oracle_expression is inputs.source is None
        if id_ in truth:
            assert not any(value is truth[id_] for value in vars(inputs).values())


def test_training_holds_no_copy_of_the_features(mapped):
    found = Flag(FlagSettings.model_validate(find_method("flag").presets["test"]))
    objective = found._trainer(*labelled(mapped), Context(tuple(mapped.facts.genes))).objective
    for rows, slide in zip(objective.windows.features, objective.windows.slides, strict=True):
        assert _backed(rows._features)
        spots = np.array([3, 0])
        whole = standardized(slide.inputs.features, found.feature_mean_, found.feature_std_)
        np.testing.assert_array_equal(rows[spots], whole[spots])


def test_a_run_with_a_cache_writes_what_it_predicts(mapped, tmp_path):
    assert run_method(mapped, find_method("training-mean"), folder=tmp_path / "run").status == "done"
