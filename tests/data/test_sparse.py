"""Sparse matrices whose parts do not fit each other; scipy reads outside its memory with most of them."""

import numpy as np
import pytest
from scipy.sparse import coo_matrix, csc_matrix, csr_matrix

from stbench.data.sparse import check_sparse


def matrix(kind=csr_matrix):
    return kind(np.array([[1, 0, 2], [0, 0, 3], [4, 5, 0], [0, 0, 0]]))


def with_parts(kind=csr_matrix, **parts):
    found = matrix(kind)
    for name, value in parts.items():
        setattr(found, name, np.asarray(value))
    return found


@pytest.mark.parametrize("kind", [csr_matrix, csc_matrix])
def test_sound_ones(kind):
    check_sparse(matrix(kind), "X")
    check_sparse(kind((4, 3)), "X")
    check_sparse(kind((0, 3)), "X")
    unsorted = with_parts(csr_matrix, indices=[2, 0, 2, 1, 0], data=[2, 1, 3, 5, 4])
    check_sparse(unsorted, "X")
    check_sparse(with_parts(csr_matrix, indices=np.array([0, 2, 2, 0, 1], dtype=np.uint32)), "X")


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"indices": [0, 3, 2, 0, 1]}, "a column index 3 outside 0 to 2"),
        ({"indices": [0, -1, 2, 0, 1]}, "a column index -1 outside"),
        ({"indices": [0, 2**31, 2, 0, 1]}, "a column index 2147483648 outside"),
        ({"indices": [0.0, 2.0, 2.0, 0.0, 1.0]}, "indices of shape .* float64, not one row of integers"),
        ({"indices": [[0, 2, 2, 0, 1]]}, "not one row of integers"),
        ({"indices": [0, 2, 2, 0]}, r"4 indices for data of shape \(5,\)"),
        ({"data": [1, 2, 3, 4]}, r"5 indices for data of shape \(4,\)"),
        ({"data": [[1, 2, 3, 4, 5]]}, "data of shape"),
        ({"indptr": [0, 2, 3, 5, 9]}, "indptr that does not rise from 0 to 5"),
        ({"indptr": [0, 2, 3, 4, 4]}, "indptr that does not rise from 0 to 5"),
        ({"indptr": [0, 4, 3, 5, 5]}, "indptr that does not rise"),
        ({"indptr": [1, 2, 3, 5, 5]}, "indptr that does not rise"),
        ({"indptr": [0, -2, 3, 5, 5]}, "indptr that does not rise"),
        ({"indptr": [0, 9, 9, 9, 0], "indices": [], "data": []}, "indptr|type float64"),
        ({"indptr": [0, 2, 3, 5]}, "4 entries of indptr for 4 rows"),
        ({"indptr": []}, "indptr"),
        ({"indices": [0, 0, 2, 0, 1]}, r"row 0, column 0 twice \(1 such places\)"),
        ({"indices": [0, 2, 2, 1, 1]}, "row 2, column 1 twice"),
    ],
)
def test_parts_that_do_not_fit(parts, said):
    with pytest.raises(ValueError, match=f"X: a sparse matrix with .*({said})"):
        check_sparse(with_parts(**parts), "X")


def test_the_same_by_columns():
    with pytest.raises(ValueError, match="a row index 4 outside 0 to 3"):
        check_sparse(with_parts(csc_matrix, indices=[0, 4, 2, 0, 1]), "X")
    with pytest.raises(ValueError, match="format coo"):
        check_sparse(coo_matrix(np.eye(2)), "X")
