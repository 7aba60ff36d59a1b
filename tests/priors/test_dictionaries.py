import json
import os
import pickle

import numpy as np
import pytest

from stbench.errors import DataError
from stbench.priors.dictionaries import read_dictionary, read_ids, read_names, read_numbers


class Harmful:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def write(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("number", [int, float, np.float64, np.int64])
def test_dictionaries_of_numbers_load(tmp_path, protocol, number):
    path = write(tmp_path / "d.pkl", {"a": number(1), "b": number(2)}, protocol)
    assert read_numbers(path) == {"a": 1.0, "b": 2.0}


def test_json_and_pickle_agree(tmp_path):
    content = {"a": "x", "b": "y"}
    (tmp_path / "d.json").write_text(json.dumps(content))
    assert read_names(tmp_path / "d.json") == read_names(write(tmp_path / "d.pkl", content)) == content


def test_nothing_in_a_pickle_is_executed(tmp_path):
    marker = tmp_path / "made"
    path = write(tmp_path / "d.pkl", {"a": Harmful(marker)})
    with pytest.raises(DataError, match=r"refused .*mkdir"):
        read_dictionary(path)
    assert not marker.exists()


@pytest.mark.parametrize("content", [[1, 2], {1: 2}, "text", {"a": np.zeros(2)}, {"a": np.float64}])
def test_other_contents_are_refused(tmp_path, content):
    with pytest.raises(DataError, match="expected a dictionary"):
        read_dictionary(write(tmp_path / "d.pkl", content))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", None, True, [1]])
def test_values_that_are_no_numbers_are_named(tmp_path, value):
    with pytest.raises(DataError, match="for 'a'"):
        read_numbers(write(tmp_path / "d.pkl", {"a": value}))


@pytest.mark.parametrize(
    ("ids", "message"), [({"a": 5}, "below 3"), ({"a": 1, "b": 1}, "every id once"), ({"a": 1.5}, "whole numbers")]
)
def test_vocabularies_must_fit_the_table(tmp_path, ids, message):
    with pytest.raises(DataError, match=message):
        read_ids(write(tmp_path / "d.pkl", ids), 3)


def test_truncated_large_and_absent_files_say_so(tmp_path):
    path = write(tmp_path / "d.pkl", {"a": 1})
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match="obtain the file again"):
        read_dictionary(path)
    with pytest.raises(DataError, match="obtain the file again"):
        read_dictionary(tmp_path / "none.pkl")
    with path.open("wb") as stream:
        stream.truncate(51 * 2**20)
    with pytest.raises(DataError, match="at most 50 MB"):
        read_dictionary(path)
