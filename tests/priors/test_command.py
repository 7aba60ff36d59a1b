"""`stbench prior`, and FLAG aligned with what it wrote."""

import hashlib
import json

import numpy as np
import pytest

from stbench.cli.main import main
from stbench.evaluation.exposure import contamination
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


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A cache that tests share, and the genes of the cohort that lies in it."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STBENCH_CACHE", str(folder / "cache"))
        assert main(["datasets", "export", "simulated", str(folder / "out"), *COHORT[4:]]) == 0
    import anndata

    paths = (folder / "out" / "st").glob("*.h5ad")
    return folder / "cache", sorted({str(gene) for path in paths for gene in anndata.read_h5ad(path).var_names})


@pytest.fixture
def symbols(made, tmp_path, monkeypatch):
    """The genes of the cohort; the test works in a folder of its own."""
    monkeypatch.setenv("STBENCH_CACHE", str(made[0]))
    monkeypatch.chdir(tmp_path)
    return made[1]


@pytest.fixture
def checkpoint(symbols, tmp_path):
    """An scGPT checkpoint that knows every gene of the cohort."""
    gene_models.scgpt(tmp_path / "scgpt", genes=symbols)
    return tmp_path / "scgpt"


def test_training_slides_alone_get_vectors_and_flag_trains_with_them(checkpoint, tmp_path, capsys):
    assert main(["prior", "--model", "scgpt", "--weights", str(checkpoint), *COHORT, "--out", "vectors"]) == 0
    assert "6 genes, 6 known" in capsys.readouterr().out
    about = json.loads((tmp_path / "vectors" / "prior.json").read_text())
    assert about["weights_sha256"] == hashlib.sha256((checkpoint / "best_model.pt").read_bytes()).hexdigest()
    stored = {path.name.removesuffix("_gene_embeddings.npy") for path in (tmp_path / "vectors").glob("*embeddings.npy")}
    assert stored == set(about["train"])
    flag = ["run", "--method", "flag", "--preset", "test", "--encoder", "mean-rgb", "--no-controls", *COHORT]
    assert main([*flag, "--set", "prior=file:vectors", "--out", "mine"]) == 0
    record = read_record(tmp_path / "mine" / "flag")
    assert record.status == "done"
    assert record.pretrained == {"prior": f"scgpt/{about['weights_sha256']}"}
    assert contamination(record).mark == ""  # nothing has seen simulated slides
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


@pytest.mark.parametrize("context", ["panel", "all"])
def test_vectors_of_spots_are_made_and_flag_aligns_with_them(symbols, tmp_path, capsys, context):
    gene_models.cellplm(tmp_path / "cellplm")
    lines = [f"{symbol},ENSG{i:011d}\n" for i, symbol in enumerate(symbols)]
    (tmp_path / "symbols.csv").write_text("symbol,ensembl\n" + "".join(lines))
    words = ["prior", "--model", "cellplm", "--weights", "cellplm", "--symbols", "symbols.csv", "--context", context]
    assert main([*words, *COHORT, "--out", "vectors"]) == 0
    assert "--set prior=file:vectors --set align=spot" in capsys.readouterr().out
    assert json.loads((tmp_path / "vectors" / "prior.json").read_text())["context"] == context
    flag = ["run", "--method", "flag", "--preset", "test", "--encoder", "mean-rgb", "--no-controls", *COHORT]
    assert main([*flag, "--set", "prior=file:vectors", "--set", "align=spot-l2", "--out", "mine"]) == 0
    record = read_record(tmp_path / "mine" / "flag")
    assert record.status == "done"
    assert record.settings["align"] == "spot-l2"
    assert main([*flag, "--set", "prior=file:vectors", "--out", "other"]) == 2
    assert "gene" in capsys.readouterr().err


def test_what_was_written_fills_the_rows_of_an_ablation(checkpoint, symbols, tmp_path, capsys):
    gene_models.cellplm(tmp_path / "cellplm")
    lines = [f"{symbol},ENSG{i:011d}\n" for i, symbol in enumerate(symbols)]
    (tmp_path / "symbols.csv").write_text("symbol,ensembl\n" + "".join(lines))
    for model in ("scgpt", "cellplm"):
        words = [
            "prior",
            "--model",
            model,
            "--weights",
            model,
            "--symbols",
            "symbols.csv",
            *COHORT,
            "--out",
            f"of-{model}",
        ]
        assert main(words) == 0
    words = ["ablate", "--method", "flag", "--preset", "test", "--encoder", "mean-rgb", *COHORT, "--draws", "1"]
    words += ["--tables", "6", "--seeds", "0", "--set", "max_updates=1", "--out", "mine"]
    assert main([*words, "--prior", "scgpt=of-scgpt", "--prior", "cellplm=of-cellplm"]) == 1  # no Geneformer
    found = {path.parent.name: read_record(path) for path in (tmp_path / "mine").rglob("record.json")}
    assert {one.status for one in found.values()} == {"done"}
    assert {"graph=false,prior=scgpt", "graph=false,prior=cellplm,align=spot-l2"} < set(found)
    assert "Geneformer: refused: no vectors given; write them with stbench prior" in capsys.readouterr().out


def test_a_model_that_reads_the_panel_alone_takes_no_other_genes(checkpoint, tmp_path, capsys):
    words = ["prior", "--model", "scgpt", "--weights", str(checkpoint), *COHORT, "--context", "all"]
    assert main([*words, "--out", "vectors"]) == 2
    assert "expected panel, for scgpt reads the panel's genes alone" in capsys.readouterr().err
    assert not (tmp_path / "vectors").exists()
