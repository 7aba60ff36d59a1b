"""`stbench prior`, and FLAG aligned with what it wrote."""

import json

import numpy as np
import pytest

from stbench.cli.main import main
from stbench.evaluation.record import read_record

from . import gene_models

COHORT = [
    "--dataset",
    "simulated",
    "--genes",
    "6",
    "--simulate",
    "n_patients=3",
    "--simulate",
    "sections_per_patient=1",
]
COHORT += ["--simulate", "n_spots=16", "--simulate", "n_genes=30"]


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """An scGPT checkpoint that knows all but one gene of the cohort."""
    monkeypatch.setenv("STBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert main(["datasets", "export", "simulated", "made", *COHORT[4:]]) == 0
    import anndata

    names = {
        str(gene) for path in (tmp_path / "made" / "st").glob("*.h5ad") for gene in anndata.read_h5ad(path).var_names
    }
    gene_models.scgpt(tmp_path / "scgpt", genes=sorted(names))
    return tmp_path / "scgpt"


def test_training_slides_alone_get_vectors_and_flag_trains_with_them(checkpoint, tmp_path, capsys):
    assert main(["prior", "--model", "scgpt", "--weights", str(checkpoint), *COHORT, "--out", "vectors"]) == 0
    assert "6 genes, 6 known" in capsys.readouterr().out
    about = json.loads((tmp_path / "vectors" / "prior.json").read_text())
    stored = {path.name.removesuffix("_gene_embeddings.npy") for path in (tmp_path / "vectors").glob("*embeddings.npy")}
    assert stored == set(about["train"])
    flag = ["run", "--method", "flag", "--preset", "test", "--encoder", "mean-rgb", "--no-controls", *COHORT]
    assert main([*flag, "--set", "prior=file:vectors", "--out", "mine"]) == 0
    record = read_record(tmp_path / "mine" / "flag")
    assert record.status == "done"
    assert set(record.task.train) == stored
    assert record.task.genes == about["genes"]


def test_the_same_command_goes_on_and_another_one_is_refused(checkpoint, tmp_path, capsys):
    words = ["prior", "--model", "scgpt", "--weights", str(checkpoint), *COHORT, "--out", "vectors"]
    assert main(words) == 0
    (file,) = (tmp_path / "vectors").glob("*embeddings.npy")
    before = np.load(file)
    assert main(words) == 0
    np.testing.assert_array_equal(np.load(file), before)
    assert main([*words, "--split-seed", "1"]) == 2
    assert "other settings" in capsys.readouterr().err
