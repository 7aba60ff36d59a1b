"""Vectors of gene models as files, read back through the prior that training uses."""

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from stbench.data.slide import Slide
from stbench.errors import DataError, SettingError, UnknownNameError, UserError
from stbench.priors.extract import extract_prior
from stbench.priors.models import ModelOptions, load_model
from stbench.priors.table import build_prior

from . import gene_models

PANEL = ["G3", "G0", "NOVEL", "G7"]
ALL = [*PANEL, "G5", "G9"]


def slide(id_="s1", n_spots=70, seed=0):
    counts = np.random.default_rng(seed).poisson(1.0, size=(n_spots, len(ALL))).astype(np.int32)
    counts[0] = 0
    adata = AnnData(csr_matrix(counts))
    adata.var_names, adata.obs_names = ALL, [f"{id_}-{i}" for i in range(n_spots)]
    return Slide(id_, None, adata)


def model(folder, name, **options):
    writers = {"geneformer": gene_models.geneformer, "scgpt": gene_models.scgpt, "cellplm": gene_models.cellplm}
    writers[name](folder / name)
    return load_model(name, ModelOptions(folder / name, **options), PANEL)


def expression(slides):
    return [np.log1p(s.counts[:, : len(PANEL)].toarray()).astype(np.float32) for s in slides]


@pytest.mark.parametrize("name", ["geneformer", "scgpt"])
def test_training_reads_what_the_model_gave(tmp_path, name):
    ready, slides, out = model(tmp_path, name), [slide(), slide("s2", 30, 1)], tmp_path / "prior"
    assert extract_prior(ready, slides, PANEL, out) == ["s1", "s2"]
    assert np.load(out / "s1_gene_embeddings.npy", mmap_mode="r").dtype == np.float16
    prior = build_prior(f"file:{out}", expression(slides), PANEL, ["s1", "s2"])
    vectors, mask = prior.of("s1", np.array([5, 66]))
    shown = slides[0].adata[[5, 66], PANEL]
    direct, known = ready.embed(shown.X, PANEL, list(shown.obs_names))
    np.testing.assert_array_equal(mask, known)
    np.testing.assert_allclose(vectors, direct, rtol=2e-3, atol=2e-3)
    assert not mask[:, 2].any()


def test_a_geneformer_that_sees_all_genes_differs_but_fills_the_panel(tmp_path):
    ready = model(tmp_path, "geneformer")
    for context in ("panel", "all"):
        extract_prior(ready, [slide()], PANEL, tmp_path / context, context=context)
    masks = [np.load(tmp_path / c / "s1_gene_mask.npy") for c in ("panel", "all")]
    vectors = [np.load(tmp_path / c / "s1_gene_embeddings.npy") for c in ("panel", "all")]
    np.testing.assert_array_equal(*masks)
    assert vectors[0].shape == (70, len(PANEL), gene_models.WIDTH)
    assert not np.allclose(*vectors, atol=1e-2)


def test_cellplm_gives_a_vector_per_spot(tmp_path):
    table = tmp_path / "symbols.csv"
    table.write_text("symbol,ensembl\n" + "".join(f"G{i},ENSG{i:011d}\n" for i in range(10)))
    extract_prior(model(tmp_path, "cellplm", symbols=table), [slide()], PANEL, tmp_path / "prior")
    assert np.load(tmp_path / "prior" / "s1_spot_embeddings.npy").shape == (70, 16)
    assert not np.load(tmp_path / "prior" / "s1_spot_mask.npy")[0]


def test_an_interrupted_extraction_goes_on_where_it_stopped(tmp_path):
    ready, out = model(tmp_path, "scgpt"), tmp_path / "prior"
    extract_prior(ready, [slide()], PANEL, out)
    before = (out / "s1_gene_embeddings.npy").stat().st_mtime_ns
    extract_prior(ready, [slide(), slide("s2")], PANEL, out)
    assert (out / "s1_gene_embeddings.npy").stat().st_mtime_ns == before
    assert not list(out.glob("*.part.npy"))
    assert json.loads((out / "prior.json").read_text())["genes"] == PANEL


def test_a_folder_of_other_settings_is_refused(tmp_path):
    ready = model(tmp_path, "geneformer")
    extract_prior(ready, [slide()], PANEL, tmp_path / "prior")
    with pytest.raises(UserError, match="other settings"):
        extract_prior(ready, [slide()], PANEL, tmp_path / "prior", context="all")


def test_slides_above_the_budget_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(DataError, match="slide s1: expected at most"):
        extract_prior(model(tmp_path, "scgpt"), [slide()], PANEL, tmp_path / "prior", budget_gb=1e-9)
    assert not list((tmp_path / "prior").glob("*.npy"))


@pytest.mark.parametrize(("value", "said"), [(np.nan, "not finite"), (7e4, "at most 65504, found 70000")])
def test_vectors_that_half_precision_cannot_hold_are_refused(tmp_path, value, said):
    ready = model(tmp_path, "scgpt")

    def broken(*given):
        vectors, mask = ready.embed(*given)
        vectors[0] = value
        return vectors, mask

    with pytest.raises(DataError, match=f"slide s1: scgpt.*{said}"):
        extract_prior(replace(ready, embed=broken), [slide()], PANEL, tmp_path / "prior")
    assert not list((tmp_path / "prior").glob("*.npy"))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room cannot be taken beforehand")
def test_a_full_disk_is_said_before_anything_is_computed(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(UserError, match=r"GB of free disk for .*s1_gene_embeddings.*No space left on device"):
        extract_prior(model(tmp_path, "scgpt"), [slide()], PANEL, tmp_path / "prior")
    assert not list((tmp_path / "prior").glob("*.npy"))


def test_a_model_that_knows_too_little_is_refused(tmp_path):
    gene_models.scgpt(tmp_path)
    with pytest.raises(DataError, match=r"at least 50% of 3 panel genes, found 1; unknown: A, B"):
        load_model("scgpt", ModelOptions(tmp_path), ["G1", "A", "B"])
    assert load_model("scgpt", ModelOptions(tmp_path, least_known=0.3), ["G1", "A", "B"]).known.sum() == 1
    with pytest.raises(DataError, match=r"2 panel genes, found 0; unknown: A, B"):
        load_model("scgpt", ModelOptions(tmp_path, least_known=0.0), ["A", "B"])


def test_ambiguous_symbols_are_reported_and_masked(tmp_path):
    table = tmp_path / "symbols.tsv"
    table.write_text("symbol\tensembl\nNOVEL\tENSG00000000011\nNOVEL\tENSG00000000012\n")
    ready = model(tmp_path, "geneformer", symbols=table)
    assert ready.ambiguous == {"NOVEL": ("ENSG00000000011", "ENSG00000000012")}
    assert ready.known.tolist() == [True, True, False, True]


def test_unknown_models_and_folders_say_so(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean geneformer"):
        load_model("genformer", ModelOptions(tmp_path), PANEL)
    with pytest.raises(SettingError, match="expected the folder of a scgpt checkpoint"):
        load_model("scgpt", ModelOptions(tmp_path / "none"), PANEL)
