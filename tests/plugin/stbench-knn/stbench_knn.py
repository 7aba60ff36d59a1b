"""The mean expression of the training spots that look most alike."""

from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.spatial import cKDTree

from stbench.methods.base import Method


class KnnSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int = Field(default=30, ge=1, description="training spots averaged per spot")


class Knn(Method):
    Settings = KnnSettings
    card: ClassVar = {"name": "knn", "title": "k nearest neighbours", "needs": ["features"]}

    def fit(self, train, validation, context):
        features = np.concatenate([slide.inputs.features for slide in train])
        self.expression_ = np.concatenate([slide.expression for slide in train])
        self.mean_, self.scale_ = features.mean(axis=0), features.std(axis=0) + 1e-6
        self.features_ = (features - self.mean_) / self.scale_

    def predict(self, inputs, draws, seed):
        k = min(self.settings.k, len(self.features_))
        z = (inputs.features - self.mean_) / self.scale_
        nearest = cKDTree(self.features_).query(z, k=range(1, k + 1))[1]
        return self.expression_[nearest].mean(axis=1)[None]  # (1 draw, n_spots, n_genes)
