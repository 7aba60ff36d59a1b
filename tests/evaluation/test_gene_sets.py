"""Gene sets of a run: scored where a file is given, kept in records, again by `stbench rescore`."""

import json
from dataclasses import replace

import numpy as np
import pytest

from stbench.errors import DataError, UnknownNameError
from stbench.evaluation.build import build_task
from stbench.evaluation.gene_sets import GeneSetFile
from stbench.evaluation.predictions import read_prediction
from stbench.evaluation.record import read_record
from stbench.evaluation.rescore import rescore, rescored
from stbench.evaluation.run import run_method
from stbench.files import sha256_of
from stbench.metrics import gene_set_gsc, gene_set_pcc
from stbench.reporting import SILENT

from .conftest import GENES, make_cohort
from .test_rescore import truths  # noqa: F401

SETS = {"MOST": GENES[4:], "FEW": GENES[:2], "LAST": [*GENES[6:], "ABSENT"]}
METRICS = {"gene-set-pcc": gene_set_pcc, "gene-set-network": gene_set_gsc}


class Said:
    track = SILENT.track

    def __init__(self):
        self.lines = []

    def info(self, line):
        self.lines.append(line)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sets.json"
    path.write_text(json.dumps(SETS))
    return path


@pytest.fixture
def scored(slides, card, settings, file):
    """A task of all genes, whose runs score gene sets."""
    return build_task(make_cohort(slides), card, replace(settings, genes=len(GENES), gene_sets=file))


def as_before(record):
    """A record as it would be without gene sets."""
    metrics = {name: score for name, score in record.metrics.items() if name not in METRICS}
    one = {name: score for name, score in record.metrics_single_draw.items() if name not in METRICS}
    mean = {name: score for name, score in record.metrics_posterior_mean.items() if name not in METRICS}
    said = {"metrics": metrics, "metrics_single_draw": one, "metrics_posterior_mean": mean}
    free = {"seconds", "created", "peak_memory_mb", "request", "notes"}
    return record.model_copy(update={**said, "gene_sets": None, "per_set": {}}).model_dump(exclude=free)


def test_a_run_scores_the_sets_and_nothing_else_changes(slides, card, settings, scored, method, file, tmp_path):
    bare = build_task(make_cohort(slides), card, replace(settings, genes=len(GENES)))
    assert scored.facts == bare.facts
    record, plain = (run_method(one, method("SlideMean"), folder=tmp_path / name) for one, name in
                     ((scored, "with"), (bare, "without")))  # fmt: skip
    assert as_before(record) == as_before(plain)
    assert (plain.gene_sets, plain.per_set) == (None, {})
    assert record.gene_sets.model_dump() == {"sha256": sha256_of(file), "n_sets": 3, "n_used": 2}
    used = {name: SETS[name] for name in ("MOST", "LAST")}
    for slide in scored.test:
        predicted = read_prediction(tmp_path / "with", slide.inputs.slide_id).prediction.mean
        for name, metric in METRICS.items():
            expected = metric(slide.expression, predicted, record.task.genes, used)
            assert record.metrics[name].per_slide[slide.inputs.slide_id] == expected.value
            found = record.per_set[name][slide.inputs.slide_id]
            assert list(found) == list(used)
            np.testing.assert_allclose(list(found.values()), expected.per_gene, rtol=1e-5)
    assert not METRICS.keys() & record.per_gene.keys()
    assert read_record(tmp_path / "with") == record


def test_predictions_are_scored_by_sets_later(slides, card, settings, method, truths, file, tmp_path):  # noqa: F811
    task = build_task(make_cohort(slides), card, replace(settings, genes=len(GENES)))
    plain = run_method(task, method("SlideMean", kind="generative", draws=2), folder=tmp_path / "run")
    (found,) = rescored([tmp_path / "run"], truths(), gene_sets=file)
    assert found.moved.endswith("2 new metrics")
    again = found.after
    assert as_before(again) == as_before(plain)
    assert again.gene_sets.n_used == 2
    assert set(METRICS) <= again.metrics.keys() & again.metrics_single_draw.keys()


def test_sets_of_the_run_are_found_again_or_asked_for(scored, method, truths, file, tmp_path):  # noqa: F811
    record = run_method(scored, method("SlideMean"), folder=tmp_path / "run", request={"gene_sets": str(file)})
    assert rescore(tmp_path / "run", truths()) == record
    file.write_text(json.dumps({"OTHER": GENES}))
    with pytest.raises(DataError, match=r"expected the gene sets that were scored \(sha256 .*\), found another at"):
        rescore(tmp_path / "run", truths())
    other = rescore(tmp_path / "run", truths(), gene_sets=GeneSetFile.read(file))
    assert (other.gene_sets.n_sets, list(other.per_set["gene-set-pcc"]["P3-s0"])) == (1, ["OTHER"])
    file.unlink()
    with pytest.raises(DataError, match=r"found none at .*; give --gene-sets"):
        rescore(tmp_path / "run", truths())


def test_a_panel_too_small_for_every_set_is_one_line(slides, card, settings, method, file, truths, tmp_path):  # noqa: F811
    file.write_text(json.dumps({"A": GENES[-3:], "B": ["X"] * 9}))
    said = Said()
    task = build_task(make_cohort(slides), card, replace(settings, gene_sets=file), reporter=said)
    (line,) = (line for line in said.lines if line.startswith("gene sets"))
    assert "expected one with 5 genes in the panel of 5, found none of 2" in line
    assert "(A has most: 3)" in line
    record = run_method(task, method("SlideMean"), folder=tmp_path / "run")
    assert (record.status, record.metrics["gene-set-pcc"].mean, record.gene_sets.n_used) == ("done", None, 0)
    later = Said()
    rescored([tmp_path / "run"], truths(), later, file)
    assert line in later.lines


def test_a_set_is_found_by_name(file):
    sets = GeneSetFile.read(file)
    assert sets.named("LAST", GENES[::-1]) == GENES[:5:-1]
    with pytest.raises(UnknownNameError, match=r"unknown gene set 'MOSTLY': did you mean MOST\?"):
        sets.named("MOSTLY", GENES)
