"""Slides of which there is a picture alone: the size of a pixel, the grid, and tables of spots."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from stbench.data.bare import bare_slide, read_spots
from stbench.data.pixel_size import said_um_per_px
from stbench.errors import DataError, SettingError

from .pictured import picture, write_picture

APERIO = "Aperio Image Library v1\n600x600 |AppMag = 20|MPP = 0.4990|Left = 1"
OME = '<?xml version="1.0"?><OME><Image><Pixels PhysicalSizeX="{}" PhysicalSizeXUnit="{}"/></Image></OME>'


@pytest.mark.parametrize(("said", "um"), [
    ({"description": APERIO}, 0.499),
    ({"description": OME.format("0.325", "µm").encode()}, 0.325),
    ({"description": OME.format("325", "nm")}, 0.325),
    ({"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}, 0.5),
    ({"resolution": (50_800, 50_800), "resolutionunit": "INCH"}, 0.5),
    ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
    ({"resolution": (1, 1), "resolutionunit": "NONE"}, None),
    ({"description": "MPP = 0"}, None),
    ({}, None),
])  # fmt: skip
def test_what_a_tiff_says_of_its_pixels(tmp_path, said, um):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture()[0][:32, :32], photometric="rgb", metadata=None, **said)
    assert said_um_per_px(path) == (None if um is None else pytest.approx(um, rel=1e-3))


def test_pictures_of_cameras_and_damaged_ones_say_nothing(tmp_path):
    assert said_um_per_px(write_picture(tmp_path / "a.png")) is None
    (tmp_path / "b.tif").write_bytes(b"half")
    assert said_um_per_px(tmp_path / "b.tif") is None


def test_a_slide_has_the_spots_of_the_grid_and_no_gene(tmp_path):
    slide = bare_slide(write_picture(tmp_path / "my.slide.png"), um_per_px=4.0, pitch_um=100.0)
    assert (slide.id, slide.patient, slide.um_per_px, slide.genes) == ("my.slide", None, 4.0, [])
    assert slide.spot_ids == [f"{x}x{y}" for x, y in slide.array_xy.astype(int)]
    assert len(set(slide.spot_ids)) == slide.n_spots > 50


@pytest.mark.parametrize(("asked", "said"), [
    ({"pitch_um": 100.0}, r"slide a: expected the size of a pixel, found none in a\.png; say it: --um-per-px 0\.5"),
    ({"um_per_px": 4.0}, "slide a: expected the distance of spots, found none in the model; say it: --pitch 100"),
    ({"um_per_px": 4.0, "pitch_um": 1e-3}, "expected at most 5000000 spots, found room for 5.76e\\+12"),
])  # fmt: skip
def test_what_is_asked_for(tmp_path, asked, said):
    with pytest.raises(SettingError, match=said):
        bare_slide(write_picture(tmp_path / "a.png"), **asked)


def spots(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_tables_of_spots(tmp_path, ending):
    names, xy, array = read_spots(
        spots(
            tmp_path / f"s{ending}",
            x=[1, 2, 3],
            y=[4, 4, 4],
            pixel_x=[1.5, 2, 3],
            pixel_y=[7, 8, 9],
            selected=[1, 0, 1],
        )
    )
    assert names == ["1x4", "3x4"]
    np.testing.assert_array_equal(xy, [[1.5, 7], [3, 9]])
    np.testing.assert_array_equal(array, [[1, 4], [3, 4]])
    names, xy, array = read_spots(spots(tmp_path / f"t{ending}", barcode=["a", "b"], x=[5, 6], y=[7, 8]))
    assert (names, xy.tolist(), array) == (["a", "b"], [[5, 7], [6, 8]], None)
    assert read_spots(spots(tmp_path / f"u{ending}", x=[5, 6], y=[7, 8]))[0] == ["1", "2"]


@pytest.mark.parametrize(("columns", "said"), [
    ({"a": [1]}, "expected rows with pixel_x and pixel_y, or x and y, in .*, found 1 with columns a"),
    ({"x": [], "y": []}, "found 0 with columns x, y"),
    ({"x": [1, "left"], "y": [1, 2]}, "expected numbers in x and y of .*, found others in row 2 and 0 more"),
    ({"spot": ["a", "a"], "x": [1, 2], "y": [1, 2]}, "expected every spot once in .*, found one of 2 names again"),
])  # fmt: skip
def test_tables_that_say_no_places(tmp_path, columns, said):
    with pytest.raises(DataError, match=said):
        read_spots(spots(tmp_path / "s.csv", **columns))
    with pytest.raises(DataError, match=r"found: .*No such file"):
        read_spots(tmp_path / "none.csv")


def test_spots_whose_distance_is_known_say_the_size_of_a_pixel(tmp_path):
    path = write_picture(tmp_path / "a.png")
    x, y = (axis.ravel() for axis in np.mgrid[:4, :5])
    table = spots(tmp_path / "s.csv", array_x=x, array_y=y, x=x * 50 + 100, y=y * 50 + 100)
    assert bare_slide(path, pitch_um=100.0, spots=table).um_per_px == pytest.approx(2.0)
    assert bare_slide(path, pitch_um=100.0, spots=table, um_per_px=3.0).um_per_px == 3.0
    assert bare_slide(path, spots=table).um_per_px is None
