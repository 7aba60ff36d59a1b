"""Smooth random fields with unit variance, and the deformation between serial sections."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stbench.data.simulator.settings import SimulationSettings

FloatMap = NDArray[np.float32]  # (height, width)

MICRO_UM = 2.0  # side of a cell of the grid on which tissue is laid out
_SIGMA_CELLS = 2.5  # width of the smoothing kernel on a field's own coarse grid
_MARGIN_CELLS = 12  # room for the deformation to look outside
_SHIFT_UM, _TURN_DEGREES, _BEND_UM, _BEND_SCALE_UM = 15.0, 2.0, 15.0, 300.0


def smooth_noise(generator: np.random.Generator, size_um: tuple[float, float], scale_um: float) -> FloatMap:
    """Gaussian-filtered white noise on a coarse grid of ``scale_um / 2.5``, variance 1 at every cell.

    Args:
        generator: source of the noise.
        size_um: (width, height) of the area.
        scale_um: standard deviation of the smoothing kernel.

    Returns:
        (height, width) in cells, a margin of 12 cells on every side included.
    """
    step = scale_um / _SIGMA_CELLS
    width, height = (math.ceil(side / step) + 2 * _MARGIN_CELLS for side in size_um)
    rim = math.ceil(4 * _SIGMA_CELLS)
    noise = generator.standard_normal((height + 2 * rim, width + 2 * rim), dtype=np.float32)
    kernel = cv2.getGaussianKernel(2 * rim + 1, _SIGMA_CELLS, cv2.CV_32F)
    smooth = cv2.sepFilter2D(noise, cv2.CV_32F, kernel, kernel)[rim:-rim, rim:-rim]
    return np.asarray(smooth / float((kernel**2).sum()), dtype=np.float32)


@dataclass(frozen=True)
class Deformation:
    """Where each place of a section lies in its patient's block.

    Args:
        x: (height, width) micrometres in the block, one per cell of the section's grid.
        y: the same, downwards.
        size_um: (width, height) of the section.
    """

    x: FloatMap
    y: FloatMap
    size_um: tuple[float, float]

    def sample(self, field: FloatMap, scale_um: float) -> FloatMap:
        """A field of :func:`smooth_noise` with this ``scale_um``, seen through the deformation."""
        step = np.float32(scale_um / _SIGMA_CELLS)
        margin = np.float32(_MARGIN_CELLS)
        return np.asarray(cv2.remap(field, self.x / step + margin, self.y / step + margin, cv2.INTER_LINEAR))


def grid(size_um: tuple[float, float]) -> tuple[FloatMap, FloatMap]:
    """(x, y) of the centres of the tissue grid's cells in micrometres, each (height, width)."""
    width, height = (math.ceil(side / MICRO_UM) for side in size_um)
    x, y = np.meshgrid((np.arange(width) + 0.5) * MICRO_UM, (np.arange(height) + 0.5) * MICRO_UM)
    return x.astype(np.float32), y.astype(np.float32)


def still(size_um: tuple[float, float]) -> Deformation:
    """No deformation."""
    return Deformation(*grid(size_um), size_um)


def deform(generator: np.random.Generator, size_um: tuple[float, float]) -> Deformation:
    """A small shift and turn of the whole section, and a smooth bend."""
    rest = still(size_um)
    angle = math.radians(generator.normal(0, _TURN_DEGREES))
    shift = generator.normal(0, _SHIFT_UM, 2)
    bends = [rest.sample(smooth_noise(generator, size_um, _BEND_SCALE_UM), _BEND_SCALE_UM) for _ in range(2)]
    centre = np.array(size_um) / 2
    x, y = rest.x - centre[0], rest.y - centre[1]
    turned_x = math.cos(angle) * x - math.sin(angle) * y + centre[0] + shift[0]
    turned_y = math.sin(angle) * x + math.cos(angle) * y + centre[1] + shift[1]
    return Deformation(
        np.asarray(turned_x + _BEND_UM * bends[0], dtype=np.float32),
        np.asarray(turned_y + _BEND_UM * bends[1], dtype=np.float32),
        size_um,
    )


@dataclass(frozen=True)
class SerialFields:
    """Fields of one section: mostly its patient's, seen through the deformation, the rest its own.

    Args:
        settings: of the cohort.
        patient: number of the patient.
        section: number of the section within the patient.
        deformation: of the section.
    """

    settings: SimulationSettings
    patient: int
    section: int
    deformation: Deformation

    def field(self, name: str, scale_um: float) -> FloatMap:
        """(height, width) on the tissue grid, mean 0 and variance 1 over all patients."""
        size = self.deformation.size_um
        common = smooth_noise(self.settings.stream(name, self.patient), size, scale_um)
        own = smooth_noise(self.settings.stream(name, self.patient, self.section + 1), size, scale_um)
        kept = self.settings.section_correlation
        mixed = self.deformation.sample(common, scale_um) * np.float32(math.sqrt(kept))
        mixed += still(size).sample(own, scale_um) * np.float32(math.sqrt(1 - kept))
        return mixed
