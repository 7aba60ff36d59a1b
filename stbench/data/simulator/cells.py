"""Cells of a section: where they lie, of which type they are, what their nuclei look like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stbench.data.simulator.fields import MICRO_UM
from stbench.data.simulator.tissue import ADIPOSE, Section

FloatVector = NDArray[np.float64]

CELL_TYPES = ("tumour", "fibroblast", "lymphocyte", "adipocyte", "epithelium", "macrophage")
_TUMOUR, _FIBROBLAST, _LYMPHOCYTE, _ADIPOCYTE, _EPITHELIUM, _MACROPHAGE = range(6)

_SPACING_UM = 7.8  # of the jittered grid of candidates: the closest two nuclei lie
# Cells per square millimetre of each compartment (rows as DOMAINS) and type (columns as CELL_TYPES).
_DENSITY = np.array(
    [
        [5600.0, 120.0, 260.0, 0.0, 0.0, 90.0],
        [30.0, 1500.0, 260.0, 0.0, 0.0, 120.0],
        [60.0, 300.0, 9500.0, 0.0, 0.0, 500.0],
        [0.0, 150.0, 60.0, 1400.0, 0.0, 60.0],
        [60.0, 100.0, 220.0, 0.0, 8500.0, 60.0],
        [500.0, 60.0, 300.0, 0.0, 0.0, 900.0],
    ]
)
_LONG_UM = np.array([5.3, 6.6, 3.1, 5.0, 4.3, 3.9])  # half axes of the nucleus
_SHORT_UM = np.array([4.2, 1.7, 2.9, 1.2, 3.1, 2.9])
_SIZE_SPREAD = np.array([0.16, 0.2, 0.07, 0.15, 0.1, 0.14])
_HAEMATOXYLIN = np.array([1.15, 1.25, 1.95, 1.35, 1.5, 1.05])  # optical density
_GRADE_SIZE, _GRADE_SPREAD = 0.13, 0.35


@dataclass(frozen=True)
class Cells:
    """Cells of one section, one entry each.

    Args:
        xy_um: (n_cells, 2) centres of the nuclei in micrometres.
        kind: index into :data:`CELL_TYPES`.
        long_um: longer half axis of the nucleus.
        short_um: shorter half axis.
        angle: direction of the longer axis in radians, from x towards y.
        haematoxylin: optical density of the nucleus.
    """

    xy_um: FloatVector
    kind: NDArray[np.int64]
    long_um: FloatVector
    short_um: FloatVector
    angle: FloatVector
    haematoxylin: FloatVector


def place_cells(section: Section, generator: np.random.Generator) -> Cells:
    """Thin a jittered grid by the local density of cells, then give every cell a type and a nucleus."""
    xy = _candidates(section, generator)
    row, column = section.cells_at(xy)
    density = _DENSITY[section.compartment[row, column]]
    density[:, _LYMPHOCYTE] *= np.exp(0.7 * section.infiltration[row, column] - 0.25)
    total = density.sum(axis=1)
    there = (section.outline[row, column] > 0) & ~section.hole[row, column]
    there &= (section.compartment[row, column] != ADIPOSE) | (section.rim_um[row, column] < 4 * MICRO_UM)
    there &= generator.random(len(xy)) < total * _SPACING_UM**2 * 1e-6
    share = np.cumsum(density[there], axis=1) / total[there, None]
    kind = (generator.random(int(there.sum()))[:, None] > share[:, :-1]).sum(axis=1)
    return _apart(_nuclei(section, xy[there], kind, generator))


def _candidates(section: Section, generator: np.random.Generator) -> FloatVector:
    width, height = section.size_um
    y, x = np.mgrid[0:height:_SPACING_UM, 0:width:_SPACING_UM]
    x[1::2] += _SPACING_UM / 2
    xy = np.stack([x.ravel(), y.ravel()], axis=1)
    xy += generator.uniform(-0.36, 0.36, xy.shape) * _SPACING_UM
    return np.asarray(np.clip(xy, 0, [width - 1e-3, height - 1e-3]))


def _nuclei(section: Section, xy: FloatVector, kind: NDArray[np.int64], generator: np.random.Generator) -> Cells:
    row, column = section.cells_at(xy)
    grade = np.where(kind == _TUMOUR, section.grade[row, column], 0.0)
    spread = _SIZE_SPREAD[kind] * np.exp(_GRADE_SPREAD * grade)
    size = np.exp(_GRADE_SIZE * grade + generator.normal(0, 1, len(kind)) * np.clip(spread, 0, 0.4))
    stretch = np.exp(generator.normal(0, 0.09, len(kind)))
    angle = generator.uniform(0, np.pi, len(kind))
    along = _direction(section, row, column) + generator.normal(0, 0.2, len(kind))
    angle = np.where((kind == _FIBROBLAST) | (kind == _ADIPOCYTE), along, angle)
    darkness = np.exp(generator.normal(0, 0.12, len(kind)) - 0.1 * grade)
    return Cells(
        xy_um=xy,
        kind=kind,
        long_um=_LONG_UM[kind] * size * stretch,
        short_um=_SHORT_UM[kind] * size / stretch,
        angle=angle,
        haematoxylin=_HAEMATOXYLIN[kind] * darkness,
    )


def _direction(section: Section, row: NDArray[np.int64], column: NDArray[np.int64]) -> FloatVector:
    """Angle of the fibres, or of the wall of a fat cell, at each place."""
    fat = section.compartment[row, column] == ADIPOSE
    height, width = section.outline.shape
    right, left = np.minimum(column + 2, width - 1), np.maximum(column - 2, 0)
    below, above = np.minimum(row + 2, height - 1), np.maximum(row - 2, 0)
    dx, dy = (
        np.where(
            fat,
            section.rim_um[ahead] - section.rim_um[behind],
            section.across_um[ahead] - section.across_um[behind],
        )
        for ahead, behind in (((row, right), (row, left)), ((below, column), (above, column)))
    )
    return np.asarray(np.arctan2(dx, -dy), dtype=np.float64)


def _apart(cells: Cells) -> Cells:
    """Drop the later of two nuclei that would lie on each other."""
    from scipy.spatial import cKDTree

    radius = np.sqrt(cells.long_um * cells.short_um)
    pairs = cKDTree(cells.xy_um).query_pairs(9.0, output_type="ndarray")
    gap = np.linalg.norm(cells.xy_um[pairs[:, 0]] - cells.xy_um[pairs[:, 1]], axis=1)
    touching = pairs[gap < 0.8 * radius[pairs].sum(axis=1)]
    kept = np.ones(len(radius), dtype=bool)
    kept[touching.max(axis=1)] = False
    return Cells(**{name: values[kept] for name, values in vars(cells).items()})
