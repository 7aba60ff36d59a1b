"""Tissue is found by its grain, and spots are laid over it alone."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from stbench.data.images import ImageFile
from stbench.data.tissue import tissue_grid, tissue_mask
from stbench.errors import DataError

from .pictured import CENTRE, RADIUS, picture, write_picture


@pytest.mark.parametrize("black", [0, 30])
def test_the_mask_is_the_tissue(black):
    rgb, inside = picture(black=black)
    found = tissue_mask(rgb, 4.0)
    assert (found & inside).sum() / (found | inside).sum() > 0.9
    assert not found[:black].any()


def test_glass_and_black_have_no_tissue():
    assert not tissue_mask(picture(tissue=False)[0], 4.0).any()
    assert not tissue_mask(np.zeros((50, 50, 3), dtype=np.uint8)).any()


def test_a_picture_of_tissue_alone_is_all_tissue():
    rgb, _ = picture()
    x, y = CENTRE
    assert tissue_mask(rgb[y - 90 : y + 90, x - 90 : x + 90], 4.0).mean() > 0.95


@pytest.mark.parametrize(("hexagonal", "neighbours"), [(False, 4), (True, 6)])
def test_spots_lie_at_the_pitch_over_the_tissue(tmp_path, hexagonal, neighbours):
    image = ImageFile(write_picture(tmp_path / "a.png"), 4.0)
    grid = tissue_grid(image, "a", 4.0, 100.0, hexagonal=hexagonal)
    distance = np.hypot(*(grid.xy - CENTRE).T)
    assert distance.max() < RADIUS + 13
    area = 25.0**2 * (3**0.5 / 2 if hexagonal else 1)
    assert len(grid.xy) == pytest.approx(np.pi * RADIUS**2 / area, rel=0.1)
    tree = cKDTree(grid.xy)
    inner = grid.xy[distance < RADIUS - 40]
    found = tree.query(inner, k=neighbours + 2)[0]
    np.testing.assert_allclose(found[:, 1 : neighbours + 1], 25, rtol=1e-4)
    assert (found[:, -1] > 30).all()
    steps = np.array([[12.5 if hexagonal else 25.0, 0], [0, 25 * (3**0.5 / 2 if hexagonal else 1)]])
    moved = grid.array_xy @ steps
    np.testing.assert_allclose(grid.xy - moved, np.tile((grid.xy - moved)[:1], (len(moved), 1)), atol=1e-2)


def test_where_there_is_no_tissue_positions_are_asked_for(tmp_path):
    image = ImageFile(write_picture(tmp_path / "a.png", tissue=False), 4.0)
    with pytest.raises(DataError, match="slide a: expected stained tissue on the picture, found none at 576 places"):
        tissue_grid(image, "a", 4.0, 100.0, hexagonal=False)
