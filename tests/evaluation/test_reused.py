"""Predictions that lie in a folder already are those of this run, or they are made again."""

import anndata
import pytest

from stbench.errors import DataError
from stbench.evaluation.predictions import prediction_path, read_prediction
from stbench.evaluation.record import FILE_NAME
from stbench.evaluation.rescore import scored_prediction
from stbench.evaluation.run import run_method
from stbench.evaluation.seals import seal_file

SLIDE = "P3-s0"


def changed(path, what):
    adata = anndata.read_h5ad(path)
    if what in ("task", "seed"):
        adata.uns["stbench"][what] = "7"
    elif what == "spots":
        adata = adata[::-1].copy()
    else:
        adata = adata[:, ::-1].copy()
    adata.write_h5ad(path)


@pytest.mark.parametrize("what", ["task", "seed", "spots", "genes"])
def test_a_prediction_of_another_is_made_again(task, method, tmp_path, what):
    first = run_method(task, method("SlideMean"), folder=tmp_path)
    changed(prediction_path(tmp_path, SLIDE), what)
    (tmp_path / FILE_NAME).unlink()
    again = run_method(task, method("SlideMean"), folder=tmp_path, resume=True)
    assert again.predictions == first.predictions
    assert again.metrics == first.metrics
    assert scored_prediction(tmp_path, again, SLIDE).spot_ids == [f"s{i}" for i in range(16)]


@pytest.mark.parametrize("what", ["task", "seed"])
def test_the_facts_of_a_scored_prediction_are_those_of_its_record(task, method, tmp_path, what):
    record = run_method(task, method("SlideMean"), folder=tmp_path)
    changed(prediction_path(tmp_path, SLIDE), what)
    seal_file(tmp_path, prediction_path(tmp_path, SLIDE))
    with pytest.raises(DataError, match=f"slide {SLIDE} of its record, found one of another {what}; run it again"):
        scored_prediction(tmp_path, record, SLIDE)


def test_a_prediction_elsewhere_is_not_read(task, method, tmp_path):
    run_method(task, method("SlideMean"), folder=tmp_path / "run")
    path = prediction_path(tmp_path / "run", SLIDE)
    path.rename(tmp_path / "other.h5ad")
    path.symlink_to(tmp_path / "other.h5ad")
    with pytest.raises(DataError, match=r"a link out of the folder, to .*other\.h5ad"):
        read_prediction(tmp_path / "run", SLIDE)
    path.unlink()
    (tmp_path / "run/predictions").rename(tmp_path / "predictions")
    (tmp_path / "run/predictions").symlink_to(tmp_path / "predictions")
    with pytest.raises(DataError, match="a link out of the folder"):
        read_prediction(tmp_path / "run", SLIDE)
