"""Features in the forms in which people save them: read, or refused with what to type."""

import pickle

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from stbench.data.image import PatchSpec
from stbench.errors import DataError
from stbench.features.encoders import load_encoder
from stbench.features.extract import slide_features

SPOTS = [f"spot{i}" for i in range(5)]
VALUES = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float16).astype(np.float32)
TURNED = [3, 0, 4, 2, 1]
THERE = {SPOTS[i]: VALUES[i] for i in TURNED}


def write_h5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def of_tensors(values):
    return {name: torch.tensor(value) for name, value in values.items()}


READ = {
    "pt": {
        "being fitted": lambda path: torch.save(torch.tensor(VALUES, requires_grad=True), path),
        "a layer's": lambda path: torch.save({"features": torch.nn.Parameter(torch.tensor(VALUES))}, path),
        "by spot": lambda path: torch.save(of_tensors(THERE), path),
        "by spot, one row each": lambda path: torch.save({k: v[None] for k, v in of_tensors(THERE).items()}, path),
        "batch": lambda path: torch.save(torch.tensor(VALUES)[None], path),
        "sparse": lambda path: torch.save(torch.tensor(VALUES).to_sparse(), path),
    },
    "h5": {
        "batch": lambda path: write_h5(path, features=VALUES[None]),
        "batches of one": lambda path: write_h5(path, features=VALUES[:, None]),
        "batch with names": lambda path: write_h5(
            path, features=VALUES[TURNED][None], barcodes=np.array([[SPOTS[i] for i in TURNED]], dtype="S")
        ),
        "by spot": lambda path: write_h5(path, **THERE),
    },
    "npz": {"by spot": lambda path: np.savez(path, **THERE), "batch": lambda path: np.savez(path, x=VALUES[None])},
    "npy": {"batch": lambda path: np.save(path, VALUES[None])},
}


def load(folder, slide):
    return slide_features(slide, load_encoder("precomputed", weights=folder).of([slide.id]), PatchSpec(um=112))


@pytest.fixture
def slide(make_slide):
    return make_slide(None)


@pytest.mark.parametrize(("ending", "form"), [(ending, form) for ending, forms in READ.items() for form in forms])
def test_forms_that_are_read(tmp_path, slide, ending, form):
    READ[ending][form](tmp_path / f"s1.{ending}")
    np.testing.assert_array_equal(load(tmp_path, slide), VALUES)


def test_vectors_by_spot_join_on_their_names(tmp_path, slide):
    np.savez(tmp_path / "s1.npz", x=VALUES[:, 0], y=VALUES[:, 1])
    with pytest.raises(DataError, match=r"found none for 5 \(spot0, spot1, spot2, ...\); its barcodes: x, y"):
        load(tmp_path, slide)


OBJECTS = np.array(SPOTS, dtype=object)
REFUSED = {
    "npz": {
        "text": lambda path: np.savez(path, features=VALUES, barcodes=OBJECTS),
        "features": lambda path: np.savez(path, features=VALUES.astype(object)),
    },
    "npy": {
        "features": lambda path: np.save(path, VALUES.astype(object)),
        "a pickle": lambda path: path.write_bytes(pickle.dumps({"features": VALUES})),
    },
    "pt": {
        "numpy": lambda path: torch.save({"features": VALUES, "barcodes": SPOTS}, path),
        "frame": lambda path: torch.save(pd.DataFrame(VALUES, index=SPOTS), path),
        "a pickle": lambda path: path.write_bytes(pickle.dumps({"features": VALUES})),
    },
}


@pytest.mark.parametrize(("ending", "form"), [(ending, form) for ending, forms in REFUSED.items() for form in forms])
def test_python_objects_are_refused_with_what_to_type(tmp_path, slide, ending, form):
    path = tmp_path / f"s1.{ending}"
    REFUSED[ending][form](path)
    with pytest.raises(DataError, match=r"found Python objects.*never loaded because that can run code") as error:
        load(tmp_path, slide)
    message = str(error.value)
    assert not any(word in message for word in ("unreadable", "mend those", "weights_only", "allow_pickle", "\n"))
    typed(message, path)
    np.testing.assert_array_equal(load(tmp_path, slide), VALUES)


def typed(message, path):
    """Do what the message says, in Python."""
    code = message.rpartition("; save it with ")[2].replace(repr(path.name), repr(str(path)))
    import safetensors.numpy

    exec(code, {"np": np, "torch": torch, "h5py": h5py, "pd": pd, "safetensors": safetensors,
                "features": VALUES, "barcodes": SPOTS})  # fmt: skip


@pytest.mark.parametrize("ending", ["h5", "npz", "npy", "pt", "safetensors", "csv"])
def test_other_shapes_are_refused_with_what_to_type(tmp_path, slide, ending):
    path, cube = tmp_path / f"s1.{ending}", np.zeros((5, 2, 4), dtype=np.float32)
    {
        "h5": lambda: write_h5(path, features=cube),
        "npz": lambda: np.savez(path, cube),
        "npy": lambda: np.save(path, cube),
        "pt": lambda: torch.save(torch.tensor(cube), path),
        "safetensors": lambda: __import__("safetensors.numpy").numpy.save_file({"x": cube}, path),
        "csv": lambda: pd.DataFrame([["a"] * 2] * 5, index=SPOTS).to_csv(path),
    }[ending]()
    with pytest.raises(DataError, match=r"expected numbers of shape \(n_spots, width\), found") as error:
        load(tmp_path, slide)
    typed(str(error.value), path)
    np.testing.assert_array_equal(load(tmp_path, slide), VALUES)


def test_what_else_a_torch_file_holds_is_named(tmp_path, slide):
    torch.save([torch.zeros(4)] * 5, tmp_path / "s1.pt")
    with pytest.raises(DataError, match=r"s1\.pt: expected a tensor or a dictionary of tensors, found list; save it"):
        load(tmp_path, slide)
    torch.save(torch.nn.Linear(3, 4).state_dict(), tmp_path / "s1.pt")
    with pytest.raises(DataError, match=r"s1\.pt: expected embeddings or features, it holds weight, bias; save it"):
        load(tmp_path, slide)


@pytest.mark.parametrize("name", ["s1.pkl", "s1.parquet", "s1.csv.gz", "s1.pth"])
def test_files_in_other_formats_are_named(tmp_path, slide, name):
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(DataError, match=rf"found no file for s1 \(but {name}\); save it with np\.savez") as error:
        load(tmp_path, slide)
    typed(str(error.value), tmp_path / "s1.npz")
    np.testing.assert_array_equal(load(tmp_path, slide), VALUES)


def test_several_unreadable_files_are_named_and_one_explained(tmp_path):
    for name in "abc":
        np.savez(tmp_path / f"{name}.npz", features=VALUES, barcodes=OBJECTS)
    with pytest.raises(DataError, match=r"could not read b, c, .*a\.npz: expected numbers and text") as error:
        load_encoder("precomputed", weights=tmp_path).of(["a", "b", "c"])
    assert str(error.value).count("Python objects") == 1
