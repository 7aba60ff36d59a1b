"""Metadata of zarr stores: what is refused before an array is read, also where no library for stores is installed."""

import json
import os
import sys

import pytest

from stbench.data.opening import open_folder
from stbench.data.readers import readers
from stbench.data.zarr_store import attributes, check_tree, is_node
from stbench.errors import DataError

ARRAY = {
    "node_type": "array", "shape": [100], "data_type": "int32", "attributes": {"a": 1},
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10]}},
    "codecs": [{"name": "bytes"}, {"name": "zstd", "configuration": {}}],
}  # fmt: skip
SHARDED = [{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "numcodecs.pickle"}]}}]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "S.zarr" / "x").mkdir(parents=True)
    (tmp_path / "S.zarr" / "zarr.json").write_text('{"node_type": "group"}')
    return tmp_path / "S.zarr"


def put(place, **changes):
    (place / "x" / "zarr.json").write_text(json.dumps(ARRAY | changes))


def test_a_sound_array_passes(place):
    put(place)
    check_tree(place)
    assert attributes(place / "x") == {"a": 1}
    assert attributes(place) == {}
    assert is_node(place)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shape": [10**12]}, "arrays of 4e\\+03 GB"),
        ({"chunk_grid": {"configuration": {"chunk_shape": [10**12]}}}, "arrays of 4e\\+03 GB"),
        ({"shape": [-1]}, "the shape"),
        ({"shape": [1, 2]}, "the shape"),
        ({"codecs": [{"name": "numcodecs.json2"}]}, "the codec 'numcodecs.json2' of x"),
        ({"codecs": SHARDED}, "the codec 'numcodecs.pickle' of x"),
    ],
)
def test_what_is_declared_is_held_against_limits(place, changes, said):
    put(place, **changes)
    with pytest.raises((OSError, ValueError), match=said):
        check_tree(place)


@pytest.mark.parametrize("codec", [{"compressor": {"id": "pickle"}}, {"filters": [{"id": "msgpack2"}]}])
def test_codecs_of_zarr_2_as_well(place, codec):
    (place / "x" / ".zarray").write_text(json.dumps({"shape": [3], "chunks": [3], "dtype": "|O"} | codec))
    with pytest.raises(ValueError, match=r"the codec '(pickle|msgpack2)' of x"):
        check_tree(place)


def test_links_and_pipes_are_refused(place):
    (place / "x" / "c").symlink_to(place)
    with pytest.raises(OSError, match="a link at x/c"):
        check_tree(place)
    (place / "x" / "c").unlink()
    os.mkfifo(place / "x" / "c")
    with pytest.raises(OSError, match="a pipe, no file"):
        check_tree(place)


def test_without_the_library_a_store_says_what_to_install(place, monkeypatch):
    monkeypatch.setattr("stbench.data.readers.spatialdata_zarr.find_spec", lambda name: None)
    for named in (place, place.parent):
        with pytest.raises(DataError, match=r"pip install 'stbench\[spatialdata\]'$"):
            open_folder(named)


def test_recognising_imports_no_library(place):
    before = set(sys.modules)
    assert readers()["spatialdata"].recognises(place.parent)
    assert not {"zarr", "spatialdata", "geopandas", "dask"} & (set(sys.modules) - before)
