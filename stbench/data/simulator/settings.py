"""Settings of the simulated cohort, and the random streams made from them."""

from __future__ import annotations

import math
import zlib

import numpy as np
from pydantic import Field, field_validator

from stbench.data.secret import GeneratedSettings

VERSION = 1  # raise it whenever any simulated number or pixel changes: old cache entries are then left alone
MARGIN_PITCHES = 1.0  # bare rim between the array and the edge of the image
FILL = 0.78  # share of the array that lies under tissue


class SimulationSettings(GeneratedSettings):
    """What a simulated cohort is made of.

    The defaults are a small cohort for demonstrations (12 slides). :func:`paper_size` gives the size of the paper's
    cohort; every field can also be set by itself. Only the fields, and the hash of a secret seed, are part of the cache
    key, never the machine.
    """

    n_patients: int = Field(default=4, ge=1, le=99, description="number of patients")
    sections_per_patient: int = Field(default=3, ge=1, le=99, description="serial sections of each patient")
    n_spots: int = Field(default=200, ge=4, le=2000, description="spots under tissue on every slide, exactly")
    n_genes: int = Field(default=400, ge=20, le=20000, description="measured genes, MT- and RPS genes included")
    seed: int = Field(default=0, ge=0, description="seed of everything random")
    um_per_px: float = Field(default=1.0, ge=0.25, le=4, description="pixel size of the image in micrometres")
    pitch_um: float = Field(default=100.0, ge=40, le=400, description="distance of neighbouring spots in micrometres")
    spot_diameter_um: float = Field(default=55.0, ge=10, le=200, description="diameter of a spot in micrometres")
    patient_effect: float = Field(
        default=0.3, ge=0, le=2, description="standard deviation between patients of a gene's log expression"
    )
    image_signal: float = Field(
        default=1.0,
        ge=0,
        le=2,
        description="factor on every log fold change that cells and visible programmes cause; 0 leaves only depth",
    )
    invisible_share: float = Field(
        default=0.25,
        ge=0,
        le=0.95,
        description="nominal share of the spatial log variance of expression that no image can show",
    )
    section_correlation: float = Field(
        default=0.85, ge=0, le=1, description="correlation of the tissue of two serial sections with their patient"
    )
    depth: float = Field(default=3000.0, gt=0, le=1e6, description="expected UMI of a typical spot, all genes together")
    depth_sd: float = Field(
        default=0.25, ge=0, le=2, description="standard deviation of a spot's log depth that no cell explains"
    )
    dispersion: float = Field(
        default=6.0, ge=0.5, le=50, description="median theta of the negative binomial, variance mu + mu^2 / theta"
    )
    stain_variation: float = Field(
        default=0.1, ge=0, le=0.5, description="standard deviation between patients of the log stain intensity"
    )

    @field_validator("um_per_px", "pitch_um", "spot_diameter_um", "depth")
    @classmethod
    def _finite(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError("must be finite")
        return value

    @property
    def array_shape(self) -> tuple[int, int]:
        """(columns, rows) of the printed array; the outline of the tissue picks ``n_spots`` of its positions."""
        columns = math.ceil(math.sqrt(self.n_spots / FILL))
        return columns, math.ceil(self.n_spots / FILL / columns)

    @property
    def size_um(self) -> tuple[float, float]:
        """(width, height) of the imaged area in micrometres."""
        columns, rows = self.array_shape
        around = 2 * MARGIN_PITCHES - 1
        return (columns + around) * self.pitch_um, (rows + around) * self.pitch_um

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the image in pixels."""
        width, height = self.size_um
        return round(width / self.um_per_px), round(height / self.um_per_px)

    def digest(self) -> str:
        """Sixteen hexadecimal digits that change with any setting, the simulator's version and the secret seed."""
        return self.hashed(VERSION)

    def stream(self, purpose: str, *place: int) -> np.random.Generator:
        """Random numbers for one purpose at one place (patient, section): no stream depends on what else was drawn."""
        return self._drawn([self.seed, zlib.crc32(purpose.encode()), *place], purpose, *place)


def paper_size(seed: int = 0) -> SimulationSettings:
    """The size of the paper's HER2ST cohort: 36 slides of 378 spots, 12 patients, 900 genes."""
    return SimulationSettings(n_patients=12, n_spots=378, n_genes=900, depth=6750.0, seed=seed)
