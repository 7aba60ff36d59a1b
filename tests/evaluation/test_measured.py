"""Ceilings that are measured on the truth: rows without predictions."""

import pytest

from stbench.catalogue import find_dataset, method_cards
from stbench.evaluation.build import build_task
from stbench.evaluation.measured import NO_DOMAINS, NO_NEIGHBOUR, neighbours_of
from stbench.evaluation.record import read_record, write_record
from stbench.evaluation.rescore import Truths, rescore
from stbench.evaluation.run import run_method
from stbench.evaluation.task import TaskSettings
from stbench.methods.controls.measured import cut_of
from stbench.metrics import count_split, reference_rows, seed_of, serial_sections

from .conftest import make_cohort
from .test_gene_sets import Said

CARDS = method_cards()


def run(task, name, out):
    return run_method(task, CARDS[name], folder=out / name)


@pytest.mark.parametrize("scale", ["log1p", "cp10k-log1p"])
def test_the_row_holds_what_count_splitting_says_of_every_test_slide(cohort, split, tmp_path, scale):
    settings = TaskSettings(genes=5, split=str(split), encoder="mean-rgb", normalization=scale)
    task = build_task(cohort, find_dataset("her2st"), settings)
    record = run(task, "ceiling-count-split", tmp_path)
    assert (record.status, record.predictions, record.kind) == ("done", {}, "ceiling")
    for slide_id in task.facts.test:
        expected = count_split(cut_of(task.kept(slide_id)), scale, seed=seed_of(slide_id))
        for metric in ("pcc", "mse", "gsc", "ssc"):
            assert record.metrics[metric].per_slide[slide_id] == getattr(expected, metric).value
    assert set(record.metrics) == {"pcc", "mse", "gsc", "ssc"}
    assert read_record(tmp_path / "ceiling-count-split") == record


def test_it_is_measured_again_when_it_is_scored_again(task, tmp_path, monkeypatch):
    record = run(task, "ceiling-count-split", tmp_path)
    slides = {id_: task.kept(id_) for id_ in task.facts.patients}
    monkeypatch.setattr(Truths, "of", lambda self, record: slides)
    write_record(record.model_copy(update={"metrics": {}}), tmp_path / "ceiling-count-split")
    again = rescore(tmp_path / "ceiling-count-split", Truths(None, tmp_path))
    assert again.metrics == record.metrics


def test_test_counts_alone_decide_a_count_split(task, tmp_path):
    """It never sees the other slides, nor leaves predictions behind."""
    before = run(task, "ceiling-count-split", tmp_path / "a")
    train = task.kept(task.facts.train[0])
    train.adata.X = train.adata.X[::-1].copy()
    assert run(task, "ceiling-count-split", tmp_path / "b").metrics == before.metrics
    assert not (tmp_path / "a" / "ceiling-count-split" / "predictions").exists()


def test_neighbouring_cuts_are_found_by_id_or_section(task):
    def near(dataset, slide, patients):
        return neighbours_of(task.facts.model_copy(update={"dataset": dataset, "patients": patients}), slide)

    card = find_dataset("her2st")
    (series,) = [cuts for cuts in card.neighbours if "C4" in {one.section for one in card.slides if one.id in cuts}]
    sections = dict.fromkeys(one.section for one in card.slides)
    assert near("her2st", "C4", sections) == ["C5", "C3"]
    assert near("her2st", "C4", {"C4": None, "C2": None}) == []
    assert near("her2st", series[0], dict.fromkeys(series)) == [series[1]]
    assert near("mine", "C4", sections) == []


def test_serial_sections_take_the_neighbours_of_the_task(task, tmp_path, monkeypatch):
    refused = run(task, "ceiling-serial", tmp_path)
    assert (refused.status, refused.reason) == ("refused", NO_NEIGHBOUR)
    first, other = task.facts.test[0], task.facts.train[0]
    near = {first: [other]}
    monkeypatch.setattr("stbench.evaluation.measured.neighbours_of", lambda facts, id_: near.get(id_, []))
    record = run(task, "ceiling-serial", tmp_path / "two")
    expected = serial_sections(cut_of(task.kept(first)), [cut_of(task.kept(other))], "log1p")
    found = record.metrics["pcc"].per_slide
    assert found[first] == expected.pcc.value
    assert all(found[id_] is None for id_ in task.facts.test if id_ != first)


def with_domains(slide):
    slide.adata.obs["domain"] = ["", *["a", "b"] * 12][: slide.n_spots]
    return slide


def test_references_are_rows_of_every_test_slide_with_domains(slides, card, settings, tmp_path):
    """Slides of 16 spots are too few for domains: every row is there, undefined."""
    task = build_task(make_cohort([with_domains(s) if s.id != "P3-s1" else s for s in slides]), card, settings)
    record = run(task, "references", tmp_path)
    assert (record.status, record.predictions, record.kind, record.metrics) == ("done", {}, "reference", {})
    assert list(record.references) == ["measured", "smoothed", "half", "coordinates", "depth"]
    expected = reference_rows(cut_of(task.kept("P3-s0")), task.kept("P3-s0").domains, seed=seed_of("P3-s0"))
    for row, metrics in record.references.items():
        assert {name: summary.per_slide["P3-s0"] for name, summary in metrics.items()} == {
            name: score.value for name, score in expected[row].items()
        }
        assert "P3-s1" not in metrics["domain-ari"].per_slide
    assert read_record(tmp_path / "references") == record


@pytest.mark.parametrize("real", [True, False])
def test_metrics_that_lack_their_extra_are_named_once_for_real_domains(slides, card, settings, monkeypatch, real):
    monkeypatch.setattr("stbench.evaluation.build.uninstalled", lambda: "left out: some")
    said, told = card.model_copy(update={"simulated": not real}), Said()
    build_task(make_cohort([with_domains(slide) for slide in slides]), said, settings, reporter=told)
    assert told.lines.count("left out: some") == real


def test_without_domains_there_are_no_references(task, tmp_path):
    refused = run(task, "references", tmp_path)
    assert (refused.status, refused.reason) == ("refused", NO_DOMAINS)
