"""A picture of glass with a disc of grained tissue on it."""

import numpy as np
from PIL import Image

SIDE, CENTRE, RADIUS = 600, (250, 350), 150  # pixels: x, y


def picture(tissue=True, black=0):
    """(600, 600, 3) RGB: unevenly lit glass, a disc of tissue, and a black margin of so many pixels."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    glow = 10 * np.exp(-((x - 500) ** 2 + (y - 100) ** 2) / 2e4)
    rgb = np.stack([240 - 0 * glow, 235 - 3 * glow, 240 - glow], axis=2) + rng.normal(0, 0.5, (SIDE, SIDE, 3))
    inside = np.hypot(x - CENTRE[0], y - CENTRE[1]) < RADIUS
    grain = np.kron(rng.random((SIDE // 4, SIDE // 4)), np.ones((4, 4)))[..., None]
    if tissue:
        rgb[inside] = (np.array([230.0, 170.0, 200.0]) - grain * [120, 90, 60])[inside]
    if black:
        rgb[:black], rgb[-black:], rgb[:, :black], rgb[:, -black:] = 0, 0, 0, 0
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8), inside


def write_picture(path, **asked):
    Image.fromarray(picture(**asked)[0]).save(path)
    return path
