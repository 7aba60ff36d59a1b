"""Scales of expression."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from stbench.data.normalize import DESCRIPTIONS, check_normalization, normalize
from stbench.data.opening import open_folder
from stbench.errors import UnknownNameError

COUNTS = csr_matrix(np.array([[0, 1, 99], [0, 0, 0], [2, 0, 3]], dtype=np.int32))
TOTALS = np.array([200.0, 0.0, 5.0])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("log1p", [[0, np.log(2), np.log(100)], [0, 0, 0], [np.log(3), 0, np.log(4)]]),
        ("log2p1", [[0, 1, np.log2(100)], [0, 0, 0], [np.log2(3), 0, 2]]),
        ("cp10k-log1p", [[0, np.log(51), np.log(4951)], [0, 0, 0], [np.log(4001), 0, np.log(6001)]]),
    ],
)
def test_known_values(kind, expected):
    scaled = normalize(COUNTS, TOTALS, kind)
    np.testing.assert_allclose(scaled, expected, rtol=1e-6)
    assert scaled.dtype == np.float32


def test_the_default_is_the_papers():
    np.testing.assert_array_equal(normalize(COUNTS, TOTALS), normalize(COUNTS, TOTALS, "log1p"))


@pytest.mark.parametrize("kind", list(DESCRIPTIONS))
def test_spots_without_counts_survive(kind):
    scaled = normalize(COUNTS, TOTALS, kind)
    assert np.isfinite(scaled).all()
    assert (scaled[1] == 0).all()


def test_raw_scales_do_not_see_the_depth_and_the_other_one_does():
    for kind in ("log1p", "log2p1"):
        np.testing.assert_array_equal(normalize(COUNTS, TOTALS, kind), normalize(COUNTS, 7 * TOTALS, kind))
    twice = normalize(csr_matrix(COUNTS * 2), TOTALS * 2, "cp10k-log1p")
    np.testing.assert_allclose(twice, normalize(COUNTS, TOTALS, "cp10k-log1p"), rtol=1e-6)


def test_squared_errors_of_both_logarithms_differ_by_a_constant():
    ratio = (normalize(COUNTS, TOTALS, "log2p1") ** 2).sum() / (normalize(COUNTS, TOTALS) ** 2).sum()
    assert ratio == pytest.approx(2.0814, abs=1e-4)


def test_counts_are_left_as_they_are():
    before = COUNTS.toarray()
    normalize(COUNTS, TOTALS, "cp10k-log1p")
    np.testing.assert_array_equal(COUNTS.toarray(), before)


def test_unknown_scale():
    for call in (lambda: check_normalization("log1"), lambda: normalize(COUNTS, TOTALS, "log1")):
        with pytest.raises(UnknownNameError, match="unknown normalization 'log1': did you mean log1p"):
            call()
    assert all(check_normalization(kind) is None for kind in DESCRIPTIONS)


@pytest.mark.real
def test_an_empty_spot_of_the_study(real_data):
    slide = open_folder(real_data / "her2st", require_image=False).load("D5")
    scaled = normalize(slide.counts[:, :500], slide.total_counts, "cp10k-log1p")
    assert np.isfinite(scaled).all()
    assert (scaled[slide.total_counts == 0] == 0).all()
