"""H&E pixels of a section: stain concentrations, light through them, optics and sensor."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from stbench.data.image import ImageArray
from stbench.data.simulator.cells import CELL_TYPES, Cells
from stbench.data.simulator.fields import MICRO_UM, FloatMap
from stbench.data.simulator.settings import SimulationSettings
from stbench.data.simulator.tissue import Section

# Optical density per unit of stain in red, green and blue (Ruifrok and Johnston 2001).
HAEMATOXYLIN = (0.650, 0.704, 0.286)
EOSIN = (0.072, 0.990, 0.105)

_LIGHT = (243.0, 240.0, 244.0)  # glass without tissue
# One entry per compartment, as DOMAINS: tumour, stroma, immune, adipose, gland, necrosis.
_EOSIN = np.array([0.33, 0.35, 0.22, 0.34, 0.33, 0.52], dtype=np.float32)
_BLUE = np.array([0.22, 0.08, 0.16, 0.07, 0.19, 0.11], dtype=np.float32)  # haematoxylin outside nuclei
_FIBROUS = np.array([0.10, 1.0, 0.25, 0.1, 0.15, 0.15], dtype=np.float32)
_CHROMATIN = {"tumour": 0.85, "epithelium": 0.5, "macrophage": 0.6}  # clumping; others are evenly dark
_STEPS = 100.0  # of the 8-bit nuclear layers per unit of optical density
_SUBPIXEL_BITS = 4


def render(section: Section, cells: Cells, settings: SimulationSettings, patient: int, number: int) -> ImageArray:
    """Draw a section as it looks under the microscope.

    Beer-Lambert: ``I = I0 exp(-(H c_H + E c_E))`` per colour channel, with H and E the stain vectors of Ruifrok.

    Args:
        section: anatomy.
        cells: nuclei to draw.
        settings: of the cohort.
        patient: number of the patient.
        number: number of the section within the patient.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    generator = settings.stream("pixels", patient, number)
    blue, pink, tissue = _ground(section, settings, generator)
    nuclei = _nuclei(cells, settings, generator)
    covered = np.clip(nuclei * np.float32(1.5), 0, 1)
    pink *= 1 - np.float32(0.55) * covered
    blue = blue * tissue + nuclei
    pink *= tissue
    strength_h, strength_e = _strengths(settings, patient, number)
    return _photograph(blue * strength_h, pink * strength_e, settings, generator)


def _strengths(settings: SimulationSettings, patient: int, number: int) -> NDArray[np.float32]:
    """Intensity of both stains: patients differ, and a little also the sections of one."""
    common = settings.stream("stain", patient).normal(0, settings.stain_variation, 2)
    own = settings.stream("stain", patient, number + 1).normal(0, 0.5 * settings.stain_variation, 2)
    return np.exp(common + own).astype(np.float32)


def _ground(
    section: Section, settings: SimulationSettings, generator: np.random.Generator
) -> tuple[FloatMap, FloatMap, FloatMap]:
    """Haematoxylin and eosin outside nuclei, and the share of each pixel that is tissue."""
    size = settings.size_px
    soft = {
        name: _enlarge(_blur(table[section.compartment], 1.3), section, size)
        for name, table in (("eosin", _EOSIN), ("blue", _BLUE), ("fibrous", _FIBROUS))
    }
    fibre = _fibre_texture(section, size, generator)
    grain = _grain(size, 1.6 / settings.um_per_px, generator)
    cloud = _grain(size, 9.0 / settings.um_per_px, generator)
    matrix = _enlarge(section.matrix, section, size)
    fibrous = soft["fibrous"]
    pink = soft["eosin"] * (1 + fibrous * (0.26 * matrix + 0.42 * fibre) + 0.10 * grain + 0.13 * cloud)
    bluish = soft["blue"] * (1 + 0.25 * grain + 0.25 * cloud)
    tissue = _tissue_share(section, size, cloud)
    cleft = np.clip((fibre + 1.55 + 0.2 * matrix) * 4, 0, 1)
    tissue *= 1 - fibrous * (1 - cleft) * np.float32(0.9)
    return np.maximum(bluish, 0), np.maximum(pink, 0.03), tissue


def _tissue_share(section: Section, size: tuple[int, int], ragged: FloatMap) -> FloatMap:
    solid = _enlarge(_blur(1 - section.hole.astype(np.float32), 0.8), section, size)
    edge = _enlarge(section.outline, section, size)
    inside = np.clip(0.5 + (edge + 0.006 * ragged) * 70, 0, 1)
    return np.asarray(np.clip(0.5 + (solid - 0.5) * 2.2, 0, 1) * inside, dtype=np.float32)


def _fibre_texture(section: Section, size: tuple[int, int], generator: np.random.Generator) -> FloatMap:
    """Noise drawn out along the fibres, variance 1: a tile read at the curved coordinates."""
    across_um, along_um, side = 1.5, 14.0, 1024
    tile = np.zeros((side, side), dtype=np.float32)
    for width, weight in ((1.3, 0.6), (4.0, 0.8)):
        noise = generator.standard_normal((side, side), dtype=np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=width, sigmaY=1.6, borderType=cv2.BORDER_REFLECT)
        tile += weight * noise / noise.std()
    mirrored = np.block([[tile, tile[:, ::-1]], [tile[::-1], tile[::-1, ::-1]]])
    across = np.mod(_enlarge(section.across_um, section, size) / np.float32(across_um), 2 * side - 1)
    along = np.mod(_enlarge(section.along_um, section, size) / np.float32(along_um), 2 * side - 1)
    return np.asarray(cv2.remap(mirrored, across, along, cv2.INTER_LINEAR))


def _nuclei(cells: Cells, settings: SimulationSettings, generator: np.random.Generator) -> FloatMap:
    """Optical density of haematoxylin in nuclei: ellipses with a rim, clumped chromatin and a ragged edge."""
    width, height = settings.size_px
    dark = np.zeros((height, width), dtype=np.uint8)
    clumped = np.zeros((height, width), dtype=np.uint8)
    clumping = np.array([_CHROMATIN.get(name, 0.2) for name in CELL_TYPES])
    _draw(dark, cells, settings.um_per_px, cells.haematoxylin, 1.0)
    _draw(clumped, cells, settings.um_per_px, clumping[cells.kind], 1.0)
    pale = 1 - 0.38 * np.maximum(clumping[cells.kind] - 0.2, 0)
    _draw(dark, cells, settings.um_per_px, cells.haematoxylin * pale, 0.68)
    grain = _grain((width, height), 0.9 / settings.um_per_px, generator)
    density = _blur(dark.astype(np.float32), 0.45 / settings.um_per_px) / np.float32(_STEPS)
    return np.asarray(density * np.clip(1 + 0.36 * grain * clumped / np.float32(_STEPS), 0.35, 1.9))


def _draw(layer: NDArray[np.uint8], cells: Cells, um_per_px: float, values: NDArray[np.float64], part: float) -> None:
    """Fill every nucleus, its axes scaled by ``part``, with its value."""
    scale = (1 << _SUBPIXEL_BITS) / um_per_px
    centres = np.rint(cells.xy_um * scale - (1 << _SUBPIXEL_BITS) / 2).astype(int).tolist()
    axes = np.rint(np.stack([cells.long_um, cells.short_um], axis=1) * part * scale).astype(int).tolist()
    angles = np.degrees(cells.angle).tolist()
    levels = np.clip(np.rint(values * _STEPS), 1, 255).tolist()
    for centre, axis, angle, level in zip(centres, axes, angles, levels, strict=True):
        cv2.ellipse(layer, centre, axis, angle, 0, 360, level, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)


def _photograph(
    blue: FloatMap, pink: FloatMap, settings: SimulationSettings, generator: np.random.Generator
) -> ImageArray:
    """Light through both stains, slightly out of focus, with an uneven lamp and a noisy sensor."""
    height, width = blue.shape
    ramp = np.linspace(-1, 1, width, dtype=np.float32)[None] * np.float32(generator.normal(0, 0.008))
    lamp = 1 + ramp + np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(generator.normal(0, 0.008))
    noise = generator.standard_normal((height, width), dtype=np.float32) * np.float32(1.6)
    picture = np.empty((height, width, 3), dtype=np.uint8)
    for channel, light in enumerate(_LIGHT):
        density = blue * np.float32(-HAEMATOXYLIN[channel]) - pink * np.float32(EOSIN[channel])
        seen = _blur(cv2.exp(density), 0.5 / settings.um_per_px) * lamp * np.float32(light)
        picture[..., channel] = np.clip(seen + np.roll(noise, 37 * channel, axis=1) + 0.5, 0, 255)
    return picture


def _enlarge(field: FloatMap, section: Section, size: tuple[int, int]) -> FloatMap:
    """A map on the tissue grid at the pixels of the image."""
    step_x = section.size_um[0] / size[0] / MICRO_UM
    step_y = section.size_um[1] / size[1] / MICRO_UM
    transform = np.array([[step_x, 0, step_x / 2 - 0.5], [0, step_y, step_y / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    source = np.asarray(field, dtype=np.float32)
    return np.asarray(cv2.warpAffine(source, transform, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))


def _blur(field: NDArray[np.float32], sigma: float) -> FloatMap:
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma)) if sigma > 0.2 else field


def _grain(size: tuple[int, int], sigma_px: float, generator: np.random.Generator) -> FloatMap:
    """Isotropic noise with variance 1, made on a coarser grid where it is smooth."""
    width, height = size
    step = max(1.0, sigma_px / 1.5)
    shape = (math.ceil(height / step) + 8, math.ceil(width / step) + 8)
    noise = generator.standard_normal(shape, dtype=np.float32)
    smooth = _blur(noise, sigma_px / step)
    smooth /= max(float(smooth.std()), 1e-6)
    if step == 1.0:
        return smooth[:height, :width]
    return np.asarray(cv2.resize(smooth, None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR))[:height, :width]
