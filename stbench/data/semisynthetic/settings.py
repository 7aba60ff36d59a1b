"""Settings of the semi-synthetic cohort, and the random streams made from them."""

from __future__ import annotations

import zlib
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from stbench.data.secret import GeneratedSettings

VERSION = 1  # raise it whenever any feature changes: old cache entries are then left alone


class SemisyntheticSettings(GeneratedSettings):
    """How features are made from expression. The sections are those found, whatever the settings."""

    share: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="squared correlation over the spots of a slide of every gene with what the features say of it",
    )
    seed: int = Field(default=0, ge=0, description="seed of the noise and of the network")
    n_genes: int = Field(
        default=1000, ge=2, le=8000, description="genes kept and put into the features: the largest panel"
    )
    dim: int = Field(default=1024, ge=2, le=8192, description="width of the features, at least n_genes")
    layers: int = Field(default=2, ge=0, le=8, description="layers of the random network; 0 gives linear features")
    slope: float = Field(
        default=0.2, gt=0, le=1, description="slope below zero of the network's leaky units; 1 gives linear features"
    )

    @model_validator(mode="after")
    def _lossless(self) -> Self:
        if self.dim < self.n_genes:
            raise ValueError(f"dim must be at least n_genes = {self.n_genes}, or the features would lose information")
        return self

    def digest(self) -> str:
        """Sixteen hexadecimal digits that change with any setting, the version of the generator and the secret seed."""
        return self.hashed(VERSION)

    def stream(self, purpose: str, place: str = "") -> np.random.Generator:
        """Random numbers for one purpose, e.g. the noise of one slide: no stream depends on what else was drawn."""
        return self._drawn([self.seed, zlib.crc32(purpose.encode()), zlib.crc32(place.encode())], purpose, place)
