"""Anatomy of a section: outline, domains, compartments, holes, fibres, spots."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stbench.data.simulator.fields import MICRO_UM, FloatMap, SerialFields, deform, grid
from stbench.data.simulator.settings import MARGIN_PITCHES, SimulationSettings

IntMap = NDArray[np.int32]
MaskMap = NDArray[np.bool_]

DOMAINS = ("tumour", "stroma", "immune", "adipose", "gland", "necrosis")
TUMOUR, STROMA, IMMUNE, ADIPOSE, GLAND, NECROSIS = range(6)
INVISIBLE_FACTORS = 2
INVISIBLE_SCALE_UM = 120.0

_ABUNDANCE = np.array([0.6, 0.7, -0.2, -0.2, 0.35, -1.0])  # logits of the domains over all patients
_DOMAIN_SCALE_UM, _DOMAIN_CONTRAST, _PATIENT_CONTRAST = 130.0, 1.5, 0.45
_MICRO_SCALE_UM, _MICRO_CONTRAST = 13.0, 0.75
_STATE_SCALE_UM = 130.0
_FAT_CELL_UM, _GLAND_UM = 62.0, 92.0
_MEMBRANE_UM, _CORNER_UM = 2.2, 7.0
_OUTLINE_SCALE_UM, _OUTLINE_ROUGHNESS = 150.0, 0.17


@dataclass(frozen=True)
class Section:
    """One section on a grid of 2 um cells; maps are (height, width).

    Args:
        size_um: (width, height).
        spot_um: (n_spots, 2) spot centres in micrometres, x right, y down.
        array_xy: (n_spots, 2) array position, counted from 1.
        outline: above 0 inside the tissue.
        domain: index into :data:`DOMAINS` of the strongest smooth field: the label of a place.
        compartment: index into :data:`DOMAINS` of what is really there, at the scale of single cells.
        hole: fat vacuoles and gland lumina, where light passes.
        rim_um: distance to the nearest wall of the fat cell mosaic.
        grade: nuclear size and pallor of the tumour, variance 1.
        matrix: density of collagen, variance 1.
        infiltration: log abundance of lymphocytes, variance 1.
        across_um: coordinate across the fibres; they run along its level lines.
        along_um: coordinate along the fibres.
        invisible: (n_factors, height, width), variance 1; nothing in the image depends on them.
    """

    size_um: tuple[float, float]
    spot_um: NDArray[np.float64]
    array_xy: NDArray[np.int64]
    outline: FloatMap
    domain: NDArray[np.int64]
    compartment: NDArray[np.int64]
    hole: MaskMap
    rim_um: FloatMap
    grade: FloatMap
    matrix: FloatMap
    infiltration: FloatMap
    across_um: FloatMap
    along_um: FloatMap
    invisible: FloatMap

    def cells_at(self, places_um: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(row, column) of the grid cells that hold the (n, 2) places."""
        height, width = self.outline.shape
        column, row = (places_um / MICRO_UM).astype(np.int64).T
        return np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)


def make_section(settings: SimulationSettings, patient: int, section: int) -> Section:
    """Lay out the tissue of one section.

    Args:
        settings: of the cohort.
        patient: number of the patient, from 0.
        section: number of the section within the patient, from 0.

    Returns:
        The section; the same for the same arguments whatever was made before.
    """
    size = settings.size_um
    fields = SerialFields(settings, patient, section, deform(settings.stream("deform", patient, section), size))
    spot_um, array_xy, outline = _outline(settings, fields)
    logits = _domain_logits(settings, fields)
    compartment, hole, rim = _compartments(settings.stream("mosaic", patient, section), fields, logits)
    across, along = _fibres(fields)
    hidden = [fields.field(f"invisible {k}", INVISIBLE_SCALE_UM) for k in range(INVISIBLE_FACTORS)]
    return Section(
        size_um=size,
        spot_um=spot_um,
        array_xy=array_xy,
        outline=outline,
        domain=np.argmax(logits, axis=0),
        compartment=compartment,
        hole=hole,
        rim_um=rim,
        grade=fields.field("grade", _STATE_SCALE_UM),
        matrix=fields.field("matrix", _STATE_SCALE_UM),
        infiltration=fields.field("infiltration", 0.5 * _STATE_SCALE_UM),
        across_um=across,
        along_um=along,
        invisible=np.stack(hidden),
    )


def _outline(
    settings: SimulationSettings, fields: SerialFields
) -> tuple[NDArray[np.float64], NDArray[np.int64], FloatMap]:
    """Spots and outline: the level line of an irregular blob that encloses exactly ``n_spots`` array positions."""
    columns, rows = settings.array_shape
    array = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    places = ((array + MARGIN_PITCHES) * settings.pitch_um).astype(np.float64)
    width, height = settings.size_um
    x, y = fields.deformation.x / width - 0.5, fields.deformation.y / height - 0.5
    blob = 1 - 2 * (np.abs(x) ** 2.6 + np.abs(y) ** 2.6) ** (1 / 2.6)
    blob += _OUTLINE_ROUGHNESS * fields.field("outline", _OUTLINE_SCALE_UM)
    blob -= _rim_of_image(settings)
    column, row = (places / MICRO_UM).astype(np.int64).T
    levels = blob[row, column]
    order = np.argsort(-levels, kind="stable")
    chosen = np.sort(order[: settings.n_spots])
    last, following = levels[order[settings.n_spots - 1]], levels[order[min(settings.n_spots, len(order) - 1)]]
    return (
        places[chosen],
        array[chosen].astype(np.int64) + 1,
        np.asarray(blob - (0.7 * following + 0.3 * last), dtype=np.float32),
    )


def _rim_of_image(settings: SimulationSettings) -> FloatMap:
    """Rises from 0 to 2 within half a pitch of the edge, so that glass surrounds the tissue."""
    x, y = grid(settings.size_um)
    edge = np.minimum(np.minimum(x, x[:, ::-1]), np.minimum(y, y[::-1])) / np.float32(0.6 * settings.pitch_um)
    return np.asarray(2 * np.clip(1 - edge, 0, 1) ** 2, dtype=np.float32)


def _domain_logits(settings: SimulationSettings, fields: SerialFields) -> FloatMap:
    """(n_domains, height, width) smooth logits; patients differ in how much of each domain they have."""
    habit = settings.stream("habit", fields.patient).normal(0, _PATIENT_CONTRAST, len(DOMAINS)) + _ABUNDANCE
    smooth = [fields.field(f"domain {name}", _DOMAIN_SCALE_UM) for name in DOMAINS]
    return np.stack(
        [_DOMAIN_CONTRAST * field + np.float32(offset) for field, offset in zip(smooth, habit, strict=True)]
    )


def _compartments(
    generator: np.random.Generator, fields: SerialFields, logits: FloatMap
) -> tuple[NDArray[np.int64], MaskMap, FloatMap]:
    """What is at each place once domains break up into nests, and fat and glands into whole units."""
    noise = [fields.field(f"micro {name}", _MICRO_SCALE_UM) for name in DOMAINS]
    compartment = np.argmax(logits + _MICRO_CONTRAST * np.stack(noise), axis=0)
    units, _, fat_seed = _mosaic(generator, compartment.shape, _FAT_CELL_UM)
    fat = compartment[tuple(fat_seed.T)][units] == ADIPOSE
    rim = _distance_to_walls(units) + 0.7 * noise[0]
    units, distance, gland_seed = _mosaic(generator, compartment.shape, _GLAND_UM)
    radius = generator.uniform(0.33, 0.5, len(gland_seed))[units] * _GLAND_UM
    depth = distance + 5 * noise[1]
    gland = (compartment[tuple(gland_seed.T)][units] == GLAND) & (depth < radius)
    compartment[(compartment == ADIPOSE) | (compartment == GLAND)] = STROMA
    compartment[gland] = GLAND
    compartment[fat] = ADIPOSE
    hole = _rounded(fat & (rim > _MEMBRANE_UM)) | (gland & ~fat & (depth < 0.45 * radius))
    return compartment, hole, rim


def _rounded(mask: MaskMap) -> MaskMap:
    sigma = _CORNER_UM / MICRO_UM
    return np.asarray(mask & (cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma) > 0.66))


def _mosaic(
    generator: np.random.Generator, shape: tuple[int, ...], spacing_um: float
) -> tuple[IntMap, FloatMap, NDArray[np.int64]]:
    """Voronoi cells of jittered seeds: (unit of each place, distance to its seed in um, (n, 2) row and column)."""
    height, width = shape
    step = spacing_um / MICRO_UM
    rows, columns = np.mgrid[0 : height + step : step, 0 : width + step : step].reshape(2, -1)
    jittered = np.stack([rows, columns], axis=1) + generator.uniform(-0.38, 0.38, (len(rows), 2)) * step
    seeds = np.unique(np.clip(jittered, 0, [height - 1, width - 1]).astype(np.int64), axis=0)
    ground = np.ones(shape, dtype=np.uint8)
    ground[tuple(seeds.T)] = 0
    distance, label = cv2.distanceTransformWithLabels(
        ground, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    unit_of_label = np.zeros(int(label.max()) + 1, dtype=np.int32)
    unit_of_label[label[tuple(seeds.T)]] = np.arange(len(seeds))
    units = np.asarray(unit_of_label[label], dtype=np.int32)
    return units, np.asarray(distance * np.float32(MICRO_UM)), seeds


def _distance_to_walls(units: IntMap) -> FloatMap:
    inside = np.ones(units.shape, dtype=np.uint8)
    inside[:, 1:][units[:, 1:] != units[:, :-1]] = 0
    inside[1:][units[1:] != units[:-1]] = 0
    return np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5) * np.float32(MICRO_UM))


def _fibres(fields: SerialFields) -> tuple[FloatMap, FloatMap]:
    """Curved coordinates in micrometres: straight ones at a random angle, bent by smooth fields."""
    angle = fields.settings.stream("fibres", fields.patient).uniform(0, math.pi)
    x, y = fields.deformation.x, fields.deformation.y
    across = math.cos(angle) * x + math.sin(angle) * y + 90 * fields.field("bend", 90.0) + 7 * fields.field("wave", 14)
    along = math.cos(angle) * y - math.sin(angle) * x + 60 * fields.field("shear", 120.0)
    return np.asarray(across, dtype=np.float32), np.asarray(along, dtype=np.float32)
