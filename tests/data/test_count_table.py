"""Tables of counts as text."""

import gzip

import numpy as np
import pytest

from stbench.data.readers import count_table
from stbench.data.readers.count_table import read_counts
from stbench.errors import DataError


def written(path, rows, ending="\n"):
    path.write_bytes((ending.join("\t".join(map(str, row)) for row in rows) + ending).encode())
    return path


def both_ways(path, monkeypatch):
    """What is read of digits alone, and what a parser of tables reads."""
    quick = read_counts(path)
    monkeypatch.setattr(count_table, "_whole_numbers", lambda path: None)
    return quick, read_counts(path)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_digits_are_read_as_a_parser_reads_them(tmp_path, monkeypatch, ending):
    counts = np.random.default_rng(0).poisson(0.7, (40, 300))
    rows = [["", *(f"G{i}" for i in range(300))], *([f"{i}x{i + 1}", *row] for i, row in enumerate(counts))]
    quick, parsed = both_ways(written(tmp_path / "S1.tsv", rows, ending), monkeypatch)
    assert (quick[0] != parsed[0]).nnz == 0
    assert (quick[0].toarray() == counts).all()
    assert quick[1:] == parsed[1:] == ([row[0] for row in rows[1:]], rows[0][1:])


@pytest.mark.parametrize("value", ["3.0", "3e0", " 3", '"3"', "003"])
def test_a_count_in_another_form_is_the_same_count(tmp_path, value):
    path = written(tmp_path / "S1.tsv", [["", "A", "B"], ["1x1", value, 2], ["1x2", 0, 1]])
    assert read_counts(path)[0].toarray().tolist() == [[3, 2], [0, 1]]


@pytest.mark.parametrize("value", ["", "-1", "2.5", "many", "nan", "9" * 25, "0x10", "1_0", "1 2"])
def test_what_is_no_count_is_refused_with_its_place(tmp_path, value):
    path = written(tmp_path / "S1.tsv", [["", "A", "B"], ["1x1", 0, 2], ["1x2", value, 1]])
    with pytest.raises(DataError, match=r"expected raw counts \(integers from 0\), found .* spot 1x2, gene A"):
        read_counts(path)


@pytest.mark.parametrize("rows", [[["1x1", 1]], [["1x1", 1, 2, 3]], [["1x1", 1, 2], ["1x2", 1, 2, 3]], []])
def test_rows_of_another_length_are_refused(tmp_path, rows):
    with pytest.raises(DataError, match=r"S1.tsv: expected"):
        read_counts(written(tmp_path / "S1.tsv", [["", "A", "B"], *rows]))


def test_a_table_that_ends_early_is_refused(tmp_path):
    path = tmp_path / "S1.tsv.gz"
    rows = [["", *(f"G{i}" for i in range(500))], *([f"{i}x1", *range(500)] for i in range(20))]
    whole = gzip.compress(written(tmp_path / "S1.tsv", rows).read_bytes())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="expected a complete table of counts"):
        read_counts(path)
