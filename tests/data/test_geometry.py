"""Redundant facts of one slide, compared."""

import numpy as np
import pytest

from stbench.data.geometry import (
    Pitch,
    check_one_section,
    doubts,
    is_hexagonal,
    is_square,
    neighbour_px,
    off_array,
    pitch_px,
    shared,
    steps_px,
    technology_pitch,
)
from stbench.errors import DataError

ARRAY = np.array([(2 * x + y % 2, y) for y in range(6) for x in range(5)], dtype=float)  # a Visium array
XY = 200 + ARRAY * (50, 50 * 3**0.5)
VISIUM = technology_pitch("Visium")
SPOTS = [f"s{i}" for i in range(len(XY))]


def found(xy=XY, array=ARRAY, um_per_px=1.0, pitch=VISIUM):
    return doubts(xy, array, um_per_px, pitch, SPOTS)


def test_facts_that_agree_say_nothing():
    assert found() == []
    assert found(XY * 4, um_per_px=0.25) == []
    assert found(um_per_px=None) == []
    turned = XY @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    assert found(turned) == []
    assert found(XY[:, ::-1], ARRAY[:, ::-1]) == []


@pytest.mark.parametrize(("factor", "apart"), [(0.3, "30 um"), (3, "300 um"), (0.5, "50 um"), (1.3, "130 um")])
def test_positions_of_another_scale_than_the_pixel_size(factor, apart):
    (line,) = found(XY * factor)
    assert f"= {apart} apart at 1 um/px, expected 100 um (Visium)" in line


def test_a_sparse_subset_of_spots_is_no_contradiction():
    rows = [0, 1, 7, 14, 22, 29]  # of which two are neighbours
    assert doubts(XY[rows], ARRAY[rows], 1.0, technology_pitch("Visium"), SPOTS) == []


@pytest.mark.parametrize(
    ("technology", "said", "expected"),
    [
        ("Visium", None, (100, 100)),
        ("10x Visium CytAssist", None, (100, 100)),
        ("Visium HD", None, None),
        ("visium_hd", None, None),
        ("VisiumHD", None, None),
        ("Spatial Transcriptomics", None, (100, 200)),
        ("Xenium", None, None),
        (None, None, None),
        ("Visium HD", 8.0, (8, 8)),
    ],
)
def test_the_pitch_of_a_technology(technology, said, expected):
    pitch = technology_pitch(technology, said)
    assert (pitch and (pitch.least_um, pitch.most_um)) == expected


@pytest.mark.parametrize("wrong", [(0, (40, 3)), (29, (1, 0)), (14, (2, 100))])
def test_one_wrong_array_position_is_found_and_no_other(wrong):
    row, place = wrong
    array = ARRAY.copy()
    array[row] = place
    assert np.flatnonzero(off_array(array, XY)).tolist() == [row]
    (line,) = found(array=array)
    assert line.startswith(f"1 of 30 spots do not lie where the array positions of the others put them (first s{row})")


def test_a_third_of_the_positions_may_be_wrong():
    generator = np.random.default_rng(3)
    xy, wrong = XY + generator.normal(0, 2, XY.shape), generator.choice(30, 10, replace=False)
    xy[wrong] = generator.uniform(0, 900, (10, 2))
    far = np.linalg.norm(xy - XY, axis=1) > 60
    np.testing.assert_array_equal(off_array(ARRAY, xy), far)


def test_whole_pixels_are_near_enough_where_bins_are_small():
    bins = np.array([(x, y) for y in range(30) for x in range(30)], dtype=float)
    assert not off_array(bins, np.floor(bins * 2.3 + 7.4), 0.25).any()


def test_steps_tell_bins_from_spots():
    bins = np.array([(x, y) for y in range(4) for x in range(5)], dtype=float)
    assert is_hexagonal(steps_px(ARRAY, XY))
    assert is_hexagonal(steps_px(ARRAY[:, ::-1], XY))
    assert not is_square(steps_px(ARRAY, XY))
    assert is_square(steps_px(bins, bins * 32 + 7))
    assert not is_hexagonal(steps_px(bins, bins * 32 + 7))
    assert steps_px(ARRAY[:5], XY[:5]) is None  # on a line


def test_places_that_are_shared():
    assert np.flatnonzero(shared(np.vstack([XY, XY[3:5]]))).tolist() == [30, 31]
    assert neighbour_px(np.vstack([XY, XY])) == pytest.approx((100, 100))
    twice = XY.copy()
    twice[4] = twice[3]
    (line, _) = found(twice)  # and one of them is not where the array has it
    assert line == "1 spots share their place in the picture with another (first s4)"
    assert "share their array position" in found(array=np.where(np.arange(30)[:, None] == 4, ARRAY[3], ARRAY))[0]


def test_two_sections_in_one_file_are_refused():
    check_one_section(XY, SPOTS, ["a", "b"], "f.h5ad")
    names = [f"{spot}-{sample}" for sample in "ab" for spot in SPOTS]
    with pytest.raises(
        DataError, match=r"f\.h5ad: .*found 30 of 60 spots .*\(first s0-b, of the samples a, b\); write"
    ):
        check_one_section(np.vstack([XY, XY]), names, ["a", "b"], "f.h5ad")


def test_any_pitch_between_two_is_possible():
    for apart, n in ((90, 0), (150, 0), (210, 0), (60, 1), (300, 1)):
        assert len(found(XY * apart / 100, pitch=Pitch(100, 200, "ST"))) == n


@pytest.mark.parametrize(
    ("array", "steps", "pitch"),
    [
        ([(x, y) for x in range(6) for y in range(6)], (20, 20), 20),
        ([(x, y) for x in range(6) for y in range(6) if (x + y) % 2 == 0], (20, 20), 20 * 2**0.5),
        ([(x, y) for x in range(6) for y in range(6) if (x + y) % 2 == 1], (21.6, 24.1), np.hypot(21.6, 24.1)),
        ([(x, y) for x in range(6) for y in range(9) if (x + y) % 2 == 0], (100, 20), 40),
        (ARRAY, (50, 50 * 3**0.5), 100),
    ],
    ids=["square", "staggered", "staggered, other parity", "staggered, narrow rows", "hexagonal"],
)
def test_neighbours_of_an_array(array, steps, pitch):
    """Also where spots are printed beside their place, and after a turn of the picture."""
    array = np.array(array, dtype=float)
    xy = array * steps
    assert pitch_px(xy, array) == pytest.approx(pitch)
    assert pitch_px(xy) == pytest.approx(pitch)
    assert pitch_px(xy @ np.array([[0.8, 0.6], [-0.6, 0.8]]), array) == pytest.approx(pitch)
    beside = xy + np.random.default_rng(0).normal(0, pitch / 10, xy.shape)
    assert pitch_px(beside, array) == pytest.approx(pitch, rel=0.05)
