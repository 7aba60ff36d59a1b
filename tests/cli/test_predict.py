"""`stbench predict`: pictures in, AnnData out."""

import shutil
from pathlib import Path

import anndata
import numpy as np
import pytest

from stbench.cli.main import main

from ..data.pictured import picture, write_picture
from ..data.scanned import write_mirax, write_vms
from .conftest import TINY

FINER = [word.replace("um_per_px=4", "um_per_px=2") for word in TINY]
WORDS = [*FINER, "--encoder", "mean-rgb", "--genes", "5", "--device", "cpu"]
SIZE = ["--um-per-px", "4", "--pitch", "200"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, cache):
    """Folder of a model that is fitted once."""
    folder = tmp_path_factory.mktemp("fitted") / "m"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STBENCH_CACHE", str(cache))
        assert main(["fit", "--method", "ridge", *WORDS, "--set", "alpha=2", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def model(stbench, fitted, tmp_path):
    shutil.copytree(fitted, tmp_path / "m")
    return ["predict", "--model", "m"]


def test_a_picture_alone(stbench, model):
    write_picture("slide.png")
    ended = stbench(*model, "--slide", "slide.png", *SIZE, "--out", "p.h5ad")
    assert ended.code == 0, ended.err
    assert "slide slide: 4 um per pixel, where the model was fitted on" in ended.err
    adata = anndata.read_h5ad("p.h5ad")
    assert f"slide  {adata.n_obs}" in " ".join(ended.out.split()).replace(" ", "  ")
    library = adata.uns["spatial"]["slide"]
    assert library["images"]["hires"].shape == (600, 600, 3)
    assert library["scalefactors"]["tissue_hires_scalef"] == 1.0
    assert library["scalefactors"]["spot_diameter_fullres"] == pytest.approx(0.55 * 50, rel=0.01)
    assert np.isfinite(adata.X).all()
    assert adata.X.std(axis=0).min() > 0


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::PendingDeprecationWarning")
def test_scanpy_draws_what_is_written(stbench, model):
    import matplotlib

    matplotlib.use("Agg")
    import scanpy as sc

    write_picture("slide.png")
    stbench(*model, "--slide", "slide.png", *SIZE, "--out", "p.h5ad")
    adata = anndata.read_h5ad("p.h5ad")
    (axes,) = sc.pl.spatial(adata, color=adata.var_names[0], show=False)
    assert len(axes.get_images()) == 1
    assert len(axes.collections[0].get_paths()) == adata.n_obs
    matplotlib.pyplot.close("all")


def test_a_folder_of_pictures_and_slides_of_a_cohort(stbench, model, write_her2st):
    Path("pictures").mkdir()
    for name in ("a.png", "b.tif"):
        write_picture(f"pictures/{name}")
    ended = stbench(*model, "--slide", "pictures", *SIZE, "--out", "out")
    assert ended.code == 0, ended.err
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.h5ad", "b.h5ad"]
    write_her2st(Path("mine"))
    assert stbench(*model, "--dataset", "./mine", "--out", "own").code == 0
    assert len(list(Path("own").iterdir())) == 1


def test_slides_of_scanners_beside_each_other(stbench, model):
    Path("scans").mkdir()
    pixels = picture()[0][:512, :512]
    write_vms(Path("scans/a.vms"), pixels, um=(4, 4))
    write_mirax(Path("scans/b.mrxs"), pixels)
    ended = stbench(*model, "--slide", "scans", "--um-per-px", "4", "--pitch", "200", "--out", "out")
    assert ended.code == 0, ended.err
    one, other = (anndata.read_h5ad(f"out/{name}.h5ad") for name in "ab")
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.h5ad", "b.h5ad"]
    np.testing.assert_array_equal(one.obsm["spatial"], other.obsm["spatial"])
    np.testing.assert_allclose(one.X, other.X, atol=0.05)
    assert stbench(*model, "--slide", "scans/a.vms", "--pitch", "200", "--out", "c.h5ad").code == 0
    np.testing.assert_array_equal(anndata.read_h5ad("c.h5ad").X, one.X)


@pytest.mark.filterwarnings("ignore")  # of its libraries, about each other
def test_a_store_of_spatialdata(stbench, model):
    write_picture("slide.png")
    words = [*model, "--slide", "slide.png", *SIZE]
    assert "--out: expected .zarr with --to spatialdata" in stbench(
        *words, "--to", "spatialdata", "--out", "p.h5ad"
    ).reason  # fmt: skip
    assert "unknown --to 'zarr'" in stbench(*words, "--to", "zarr", "--out", "p").reason
    spatialdata = pytest.importorskip("spatialdata")
    assert stbench(*words, "--out", "p.h5ad").code == 0
    ended = stbench(*words, "--to", "spatialdata", "--out", "p.zarr")
    assert ended.code == 0, ended.err
    store, adata = spatialdata.read_zarr("p.zarr"), anndata.read_h5ad("p.h5ad")
    table = store.tables["table"]
    np.testing.assert_array_equal(table.X, adata.X)
    assert table.uns["stbench"]["method"] == "ridge"
    spots = spatialdata.transform(store.shapes["spots"], to_coordinate_system="global")
    assert list(spots.index) == list(table.obs["instance_id"]) == list(adata.obs_names)
    np.testing.assert_allclose(np.column_stack([spots.geometry.x, spots.geometry.y]), adata.obsm["spatial"])
    assert spatialdata.get_extent(store.images["picture"]) == {"x": (0.0, 600.0), "y": (0.0, 600.0)}
    again = stbench(*words, "--to", "spatialdata", "--out", "p.zarr")
    assert "p.zarr is there and is kept" in again.err
    assert "found predictions of another model" in stbench(
        *words, "--to", "spatialdata", "--seed", "1", "--out", "p.zarr"
    ).reason  # fmt: skip


def test_without_spatialdata_one_line_says_what_to_install(stbench, model, monkeypatch):
    write_picture("slide.png")
    monkeypatch.setattr("stbench.evaluation.spatialdata_store.find_spec", lambda name: None)
    ended = stbench(*model, "--slide", "slide.png", *SIZE, "--to", "spatialdata", "--out", "p.zarr")
    assert ended.reason == "--to spatialdata: expected its library, found none; pip install 'stbench[spatialdata]'"


def test_what_it_is_worth_is_kept_and_written(stbench):
    many = ["--simulate", "n_patients=5", *WORDS[2:], "--set", "ridge.alpha=2"]
    assert stbench("run", "--method", "ridge", *many, "--split", "lopo", "--no-controls", "--out", "r").code == 0
    ended = stbench("fit", "--method", "ridge", *many, "--worth", "r", "--out", "m")
    assert ended.code == 0, ended.err
    assert " of 5 genes are trusted" in ended.out
    write_picture("slide.png")
    stbench("predict", "--model", "m", "--slide", "slide.png", *SIZE, "--out", "p.h5ad")
    var = anndata.read_h5ad("p.h5ad").var
    known = var[var["patients"] > 0]
    assert len(known)
    assert set(known["patients"]) <= {1, 2, 3, 4, 5}
    assert ((var["low"] < var["pcc"]) & (var["pcc"] < var["high"]))[var["patients"] >= 4].all()
    assert var["trusted"].dtype == bool
    other = stbench("fit", "--method", "ridge", *many[:-1], "ridge.alpha=3", "--worth", "r", "--out", "n")
    assert "--worth: expected a finished run of ridge with the same settings" in other.reason
    assert not Path("n").exists()


def test_the_same_command_goes_on_and_another_is_refused(stbench, model):
    Path("pictures").mkdir()
    for name in ("a.png", "b.png"):
        write_picture(f"pictures/{name}")
    words = [*model, "--slide", "pictures", *SIZE, "--out", "out"]
    assert stbench(*words).code == 0
    whole = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    Path("out/b.h5ad").unlink()
    again = stbench(*words)
    assert "slide a: out/a.h5ad is there and is kept" in again.err
    assert "slide b: out" not in again.err
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == whole
    for more in (["--seed", "1"], ["--draws", "3"], ["--keep-draws"], ["--pitch", "300"]):
        assert "found predictions of another model, seed" in stbench(*words, *more).reason
    Path("out/b.h5ad").write_bytes(b"half")
    Path("out/a.h5ad").unlink()
    assert "out/b.h5ad, found" in stbench(*words).reason
    assert not Path("out/a.h5ad").exists()


def test_every_mistake_is_one_line(stbench, model):
    write_picture("slide.png")
    write_picture("glass.png", tissue=False)
    Path("empty").mkdir()
    Path("there.h5ad").touch()
    for words, said in (
        ([], "--slide: expected a picture, found none"),
        (["--slide", "slide.png"], "expected the size of a pixel, found none in slide.png"),
        (["--slide", "glass.png", *SIZE], "slide glass: expected stained tissue on the picture, found none"),
        (["--slide", "none.png", *SIZE], "at none.png, found neither"),
        (["--slide", "empty", *SIZE], "at empty, found a folder without one"),
        (["--slide", "slide.png", "--um-per-px", "0", "--pitch", "9"], "--um-per-px: expected micrometres above 0"),
        (["--slide", "slide.png", "--slide", "./slide.png", *SIZE], "found slide again; rename a picture"),
        (["--slide", "slide.png", "--slide", "glass.png", *SIZE], "--out: expected a folder for 2 slides"),
        (["--dataset", "nowhere"], "nowhere"),
    ):
        assert said in stbench(*model, *words, "--out", "p.h5ad").reason
        assert not Path("p.h5ad").exists()
    assert (
        "--out: expected a new file, or predictions of this model, at there.h5ad, found"
        in stbench(*model, "--slide", "slide.png", *SIZE, "--out", "there.h5ad").reason
    )
    assert "expected a model in nothing" in stbench(
        "predict", "--model", "nothing", "--slide", "slide.png", "--out", "p.h5ad"
    ).reason  # fmt: skip


def test_options_come_from_a_file_and_words_win(stbench, model):
    write_picture("slide.png")
    Path("p.toml").write_text('model = "m"\nslide = "slide.png"\num-per-px = 4\npitch_um = 300\nkeep-draws = true\n')
    assert stbench("predict", "--config", "p.toml", "--pitch", "200", "--out", "a.h5ad").code == 0
    assert stbench(*model, "--slide", "slide.png", *SIZE, "--keep-draws", "--out", "b.h5ad").code == 0
    assert Path("a.h5ad").read_bytes() == Path("b.h5ad").read_bytes()
    for said, reason in (
        ("genes = 50", "unknown option in p.toml 'genes'"),
        ('um-per-px = "4"', "--config p.toml: expected float for um_per_px, found '4'"),
        ('model = "m"\nslide = "slide.png"\nseed = [1, 2]', "--seed: expected one, found 1, 2"),
        ('model = "m"\nslide = "slide.png"\nseed = -1', "--seed: expected whole numbers such as"),
    ):
        Path("p.toml").write_text(said)
        assert reason in stbench("predict", "--config", "p.toml", "--out", "c.h5ad").reason
    assert "Missing option '--model'" in stbench("predict", "--out", "c.h5ad").err
