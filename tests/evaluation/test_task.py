"""Splits, panels and what a method may see."""

from dataclasses import replace
from functools import cached_property

import numpy as np
import pytest

from stbench.data.image import PatchSpec
from stbench.data.slide import Slide
from stbench.errors import DataError, SettingError, UnknownNameError, UserError
from stbench.evaluation.build import build_task
from stbench.evaluation.identity import default_patch
from stbench.evaluation.run import run_method
from stbench.evaluation.task import TaskSettings
from stbench.methods.registry import find_method
from stbench.reporting import Silent

from .conftest import GENES, labelled, make_cohort, make_slide, scrambled

ENCODERS = ("handcrafted-v1", "mean-rgb")


def test_slides_come_sorted_and_on_the_scale(task, slides):
    assert [slide.inputs.slide_id for slide in labelled(task)[0]] == ["P0-s0", "P0-s1", "P1-s0"]
    first = labelled(task)[0][0]
    columns = [GENES.index(gene) for gene in task.facts.genes]
    np.testing.assert_allclose(first.expression, np.log1p(slides[0].counts.toarray()[:, columns]), rtol=1e-6)
    assert first.inputs.features.shape == (16, 3)
    assert first.inputs.total_counts is None


def test_facts_say_what_was_used(task):
    facts = task.facts
    assert (facts.protocol, facts.n_genes, facts.dataset) == ("mine.json", 5, "tiny")
    assert facts.leak_fraction == 0
    assert facts.left_out == {"P9-s0": "no image", "P1-s1": "not named by the split"}
    assert facts.patients["P3-s0"] == "P3"


def test_candidates_are_genes_every_slide_names(slides, card, settings):
    slides[7] = make_slide("P3-s1", "P3", GENES[:6])
    found = build_task(make_cohort(slides), card, settings).facts.genes
    assert set(found) <= set(GENES[:6])
    with pytest.raises(SettingError, match="at most 6 genes"):
        build_task(make_cohort(slides), card, replace(settings, genes=7))


def test_gene_order_of_a_slide_does_not_matter(slides, card, settings):
    turned = [replace(slide, adata=slide.adata[:, ::-1].copy()) if i % 2 else slide for i, slide in enumerate(slides)]
    first, second = (build_task(make_cohort(some), card, settings) for some in (slides, turned))
    assert first.facts == second.facts
    np.testing.assert_array_equal(first.test[0].expression, second.test[0].expression)


def test_test_counts_do_not_move_the_panel(slides, card, settings):
    changed = [scrambled(slide) if slide.id in ("P3-s0", "P3-s1", "P2-s1") else slide for slide in slides]
    first, second = (build_task(make_cohort(some), card, settings).facts for some in (slides, changed))
    assert first.genes == second.genes
    assert first.hash != second.hash


def test_hash_ignores_how_the_same_task_came_about(slides, card, settings, tmp_path):
    task = build_task(make_cohort(slides), card, settings)
    other = tmp_path / "renamed.json"
    other.write_text(
        '{"test": ["P2-s1", "P3-s0", "P3-s1"], "train": ["P0-s0", "P0-s1", "P1-s0"], "validation": ["P2-s0"]}'
    )
    again = build_task(make_cohort(slides[::-1]), card, replace(settings, split=str(other), seed=9))
    assert task.facts.hash == again.facts.hash


@pytest.mark.parametrize(
    "change", [{"genes": 4}, {"normalization": "log2p1"}, {"encoder": "handcrafted-v1"}, {"patch": PatchSpec(px=9)}]
)
def test_hash_sees_what_decides_comparability(slides, card, settings, change):
    first = build_task(make_cohort(slides), card, settings).facts.hash
    assert build_task(make_cohort(slides), card, replace(settings, **change)).facts.hash != first


def test_one_slide_in_memory_at_a_time(slides, card, settings):
    reads = []
    cohort = make_cohort(slides)
    counted = replace(cohort, reader=lambda id_: reads.append(id_) or cohort.reader(id_))
    task = build_task(counted, card, settings)
    assert len(reads) == 2 * 7
    assert all(isinstance(slide, Slide) and slide.adata.n_vars == 5 for slide in task._kept.values())


def test_another_encoder_and_what_oracles_see(task):
    blind = task.given("none", "truth")
    first = blind.inputs()["P3-s0"]
    assert blind.encoder == "none"
    assert first.features.shape == (16, 0)
    assert first.total_counts is not None
    assert first.source is None
    truth = next(slide for slide in task.test if slide.inputs.slide_id == "P3-s0")
    np.testing.assert_array_equal(first.oracle_expression, truth.expression)
    assert task.given("none", "everything").inputs()["P3-s0"].source.genes == task.facts.genes
    plain = task.given().inputs()["P3-s0"]
    assert plain.total_counts is plain.oracle_expression is plain.source is None


def test_arrays_are_fresh(task):
    first = labelled(task)[0][0]
    first.expression[:] = 7
    first.inputs.xy[:] = 7
    again = labelled(task)[0][0]
    assert not (again.expression == 7).all()
    assert not (again.inputs.xy == 7).all()


def test_splits_by_name(slides, card):
    leaky = build_task(make_cohort(slides), card, TaskSettings(genes=5, seed=1, encoder="mean-rgb")).facts
    strict = build_task(make_cohort(slides), card, TaskSettings(genes=5, split="patient", encoder="mean-rgb")).facts
    assert (leaky.protocol, strict.protocol) == ("slide", "patient")
    assert [len(part) for part in (leaky.train, leaky.validation, leaky.test)] == [5, 1, 2]
    assert strict.leak_fraction == 0


def test_folds_by_name(slides, card):
    def facts(split):
        return build_task(make_cohort(slides), card, TaskSettings(genes=5, split=split, encoder="mean-rgb")).facts

    folds = [facts(f"kfold-4-{i}") for i in (1, 2, 3, 4)]
    assert sorted(slide for fold in folds for slide in fold.test) == sorted(slide.id for slide in slides)
    assert folds[2].protocol == "kfold-4-3"
    assert facts("lopo-P2").test == ["P2-s0", "P2-s1"]
    assert facts("lopo-P2").leak_fraction == 0


def test_folds_and_scales_share_a_protocol(slides, card):
    def facts(split, **changes):
        settings = TaskSettings(genes=5, split=split, encoder="mean-rgb")
        return build_task(make_cohort(slides), card, replace(settings, **changes)).facts

    first, second = facts("lopo-P0"), facts("lopo-P1", normalization="log2p1")
    assert (first.rule, first.protocol_hash) == ("lopo", second.protocol_hash)
    assert first.hash != second.hash
    others = [facts("lopo-P0", genes=4), facts("lopo-P0", encoder="handcrafted-v1"), facts("kfold-4-1"), facts("slide")]
    assert len({first.protocol_hash, *(one.protocol_hash for one in others)}) == 5
    assert facts("kfold-4-1").protocol_hash == facts("kfold-4-3").protocol_hash
    assert facts("kfold-4-1", seed=1).protocol_hash != facts("kfold-4-1").protocol_hash


def test_a_copy_of_a_training_slide_may_not_test(slides, card, settings):
    """P1-s0 trains and P3-s0 tests; spots and genes of the copy come in another order, or some genes are missing."""
    rows, trained = np.random.default_rng(0).permutation(16), slides[2]
    for columns in (slice(None, None, -1), slice(2, None)):
        copy = replace(trained, id="P3-s0", patient="P3", adata=trained.adata[rows].copy()[:, columns].copy())
        cohort = make_cohort([*slides[:6], copy, slides[7]])
        with pytest.raises(DataError, match=r"test slide P3-s0: .* found the counts of P1-s0, which trains"):
            build_task(cohort, card, settings)


def test_a_picture_that_trains_and_tests_is_said(slides, card, settings):
    slides[6] = replace(slides[6], image=slides[2].image)
    told = []
    reporter = Silent()
    reporter.info = told.append
    build_task(make_cohort(slides), card, settings, reporter=reporter)
    (line,) = told
    assert line == (
        "note: P1-s0, P3-s0: one picture with spots at the same places, so one tissue under 2 names (train, test)"
    )


def test_unknown_patients_are_said(slides, card, settings):
    unknown = [replace(slide, patient=None) for slide in slides]
    assert build_task(make_cohort(unknown), card, settings).facts.leak_fraction is None


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"genes": 1}, SettingError, "--genes 1"),
        ({"genes": 99}, SettingError, "at most 12"),
        ({"normalization": "log3"}, UnknownNameError, "log3"),
        ({"encoder": "mean-rbg"}, UnknownNameError, "mean-rgb"),
        ({"split": "nowhere.json"}, UserError, "nowhere.json"),
        ({"split": "kfold-4-5"}, UserError, "a fold from 1 to 4, found 5"),
        ({"split": "lopo-P7"}, UnknownNameError, "unknown patient 'P7'.*P0, P1"),
    ],
)
def test_bad_settings(slides, card, settings, change, error, said):
    with pytest.raises(error, match=said):
        build_task(make_cohort(slides), card, replace(settings, **change))


def test_default_patch(card):
    assert default_patch(card) == PatchSpec(px=8)


def test_truth_asks_no_encoder(slides, card, settings, tmp_path, monkeypatch):
    task = build_task(make_cohort(slides), card, settings, cache_dir=tmp_path)
    monkeypatch.setattr("stbench.evaluation.task.slide_features", lambda *args: pytest.fail("features were made"))
    assert [slide.inputs.features.shape for slide in task.test] == [(slide.inputs.n_spots, 0) for slide in task.test]
    assert run_method(task, find_method("training-mean"), folder=tmp_path / "run").status == "done"


def test_a_picture_is_decoded_once_for_several_encoders(slides, card, settings, tmp_path, monkeypatch):
    """Features are the same as when each encoder goes through the slides by itself."""
    from PIL import Image

    from stbench.data.images import ImageFile
    from stbench.data.raster.whole import Whole

    decoded, pixels = [], Whole._pixels.func

    def counting(self):
        decoded.append(self._path.name)
        return pixels(self)

    drawn = []
    for slide in slides:
        noise = np.random.default_rng(len(drawn)).integers(0, 255, (96, 96, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path := tmp_path / f"{slide.id}.png")
        drawn.append(replace(slide, image=ImageFile(path, 1.0)))
    wide = replace(settings, patch=PatchSpec(px=64))
    alone = [build_task(make_cohort(drawn), card, wide).given(name).features.fresh() for name in ENCODERS]
    once = cached_property(counting)
    once.__set_name__(Whole, "_pixels")
    monkeypatch.setattr(Whole, "_pixels", once)
    task = build_task(make_cohort(drawn), card, wide, tmp_path / "cache")
    decoded.clear()  # spots at the same places have had their colours compared
    task.encode(ENCODERS)
    assert sorted(decoded) == sorted(f"{slide}.png" for slide in task.facts.n_spots)
    for name, before in zip(ENCODERS, alone, strict=True):
        for slide, features in task.given(name).features.fresh().items():
            np.testing.assert_array_equal(features, before[slide])
    assert len(decoded) == len(task.facts.n_spots)
