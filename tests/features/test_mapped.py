"""Arrays kept on disk: the same values, no memory, private to whoever asks."""

import gc
import resource
from mmap import mmap

import numpy as np
import pytest

from stbench.errors import SettingError
from stbench.features.mapped import MappedArrays, keep

ARRAYS = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "empty": np.empty((2, 0), dtype=np.float32),
    "b": np.full((1, 5), np.pi, dtype=np.float32),
}


def _backed(array):
    """Whether what an array shows lies in a mapped file."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap)


@pytest.fixture(params=["disk", "memory"])
def kept(request, tmp_path):
    return keep(ARRAYS.items(), tmp_path / "cache" if request.param == "disk" else None)


def test_arrays_come_back_as_they_were(kept):
    found = kept.fresh()
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array)


def test_what_is_written_stays_with_whom_it_was_given_to(kept):
    first, second = kept.fresh(), kept.fresh()
    first["a"][:] = 7
    np.testing.assert_array_equal(second["a"], ARRAYS["a"])
    np.testing.assert_array_equal(kept.fresh()["a"], ARRAYS["a"])
    np.testing.assert_array_equal(first["b"], ARRAYS["b"])


def test_arrays_of_a_folder_are_mapped_and_leave_no_file(tmp_path):
    found = keep(ARRAYS.items(), tmp_path).fresh()
    assert all(_backed(array) for array in found.values() if array.size)
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(found["a"], ARRAYS["a"])  # though what made them is gone


def test_nothing_but_empty_arrays_and_other_types(tmp_path):
    assert MappedArrays([("x", ARRAYS["empty"])], tmp_path).fresh()["x"].shape == (2, 0)
    whole = MappedArrays([("x", np.array([3, -1]))], tmp_path, np.int32).fresh()["x"]
    assert whole.dtype == np.int32
    assert whole.tolist() == [3, -1]


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match=r"expected room for the arrays of a task at .*file.*STBENCH_CACHE"):
        keep(ARRAYS.items(), tmp_path / "file" / "cache")


def test_a_full_disk_is_one_line_and_nothing_comes_after_it(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(SettingError, match=r"expected room for the arrays of a task at .*; choose another"):
            MappedArrays([("a", np.ones(200)), ("b", np.ones(200))], tmp_path)
        gc.collect()  # an error of a finaliser is one of the test
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
