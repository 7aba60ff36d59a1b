"""What a page holds of numbers can be read again."""

import base64
import io

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from stbench.pages.report.compact import LETTERS, data_uri, levels, palette, places


def read(text):
    return np.array([LETTERS.find(letter) for letter in text])


def test_levels_are_as_near_as_64_steps_allow():
    values = np.random.default_rng(0).normal(size=200)
    low, high = -1.0, 1.5
    found = low + read(levels(values, low, high)) / 63 * (high - low)
    inside = np.clip(values, low, high)
    assert np.abs(found - inside).max() <= (high - low) / 63 / 2 + 1e-9
    assert levels([low, high, np.nan, -9, 9], low, high) == "A/.A/"


def test_places_are_within_a_4096th():
    low, size = np.array([100.0, 20.0]), np.array([300.0, 900.0])
    xy = low + np.random.default_rng(1).random((50, 2)) * size
    steps = read(places(xy, low, size)).reshape(-1, 2, 2) @ [64, 1]
    np.testing.assert_allclose(low + steps / 4095 * size, xy, atol=(size / 8190).max() + 1e-9)


def test_a_letter_is_a_colour_of_the_map_that_pictures_use():
    colours = palette("viridis")
    assert len(colours) == len(LETTERS) == len(set(LETTERS))
    for place in (0, 63):
        channels = [int(colours[place][i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert channels == pytest.approx(colormaps["viridis"](place / 63)[:3], abs=0.01)


def test_a_picture_is_itself_again():
    picture = np.full((30, 50, 3), (200, 20, 90), dtype=np.uint8)
    head, _, body = data_uri(picture).partition(",")
    again = Image.open(io.BytesIO(base64.b64decode(body)))
    assert head == "data:image/webp;base64"
    assert again.size == (50, 30)
    np.testing.assert_allclose(np.asarray(again)[15, 25], picture[15, 25], atol=12)
