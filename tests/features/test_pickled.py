"""Pickled objects are never loaded, and nobody is told how to load them all the same."""

import pickle
from argparse import Namespace

import numpy as np
import pytest
import torch

from stbench.errors import DataError
from stbench.features.precomputed import read_table
from stbench.features.weights import read_state
from stbench.priors import per_spot
from stbench.priors.table import read_embedding as read_prior

ADVICE = ("allow_pickle", "weights_only", "trust", "safe_globals", "unsafe", "pickle.load", "re-running")


def npy(path):
    np.save(path, np.array([Namespace()], dtype=object))


def npz(path):
    np.savez(path, genes=np.array(["A"]), embedding=np.array([Namespace()], dtype=object), features=np.array([{}]))


def pt(path):
    torch.save({"features": Namespace()}, path)


def old_pt(path):
    torch.save({"features": Namespace()}, path, _use_new_zipfile_serialization=False)


def plain(path):
    path.write_bytes(pickle.dumps({"features": Namespace()}))


@pytest.mark.parametrize(
    ("name", "write", "read"),
    [
        ("a.npy", npy, read_table),
        ("a.npz", npz, read_table),
        ("a.pt", pt, read_table),
        ("a.pt", old_pt, read_table),
        ("a.pt", plain, read_table),
        ("a.npy", plain, read_table),
        ("a.npy", npy, lambda path: per_spot._open(path, (None, None))),
        ("a.npz", npz, read_prior),
        ("a.bin", pt, read_state),
        ("a.bin", old_pt, read_state),
        ("a.bin", plain, read_state),
        ("a.pth", plain, read_state),
    ],
)
def test_nobody_is_advised_to_load_pickled_objects(tmp_path, name, write, read):
    write(tmp_path / name)
    with pytest.raises(DataError, match="never loaded") as error:
        read(tmp_path / name)
    assert [word for word in ADVICE if word in str(error.value)] == []
    assert len(str(error.value).splitlines()) == 1
