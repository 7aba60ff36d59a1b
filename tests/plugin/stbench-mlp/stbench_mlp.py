"""A network from the features of a spot to its expression, trained by the loop of stbench."""

from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import nn

from stbench.methods.trained import TrainedMethod, lent
from stbench.training.scores import mean_slide_correlation
from stbench.training.settings import TrainingSettings


class MlpSettings(TrainingSettings):
    width: int = Field(default=64, ge=1, description="hidden units")
    batch: int = Field(default=128, ge=1, description="spots per micro-step, of one slide")
    accumulate: int = Field(default=1, ge=1, description="micro-steps per update")
    max_updates: int | None = Field(default=600, ge=1, description="most optimiser updates")


class Mlp(TrainedMethod):
    Settings = MlpSettings
    card: ClassVar = {
        "name": "mlp",
        "title": "multi-layer perceptron",
        "needs": ["features"],
        "validation": True,
        "presets": {"small": {"lr": 1e-3, "validate_every": 50}, "test": {"max_updates": 4, "validate_every": 2}},
    }

    def build(self, n_features, n_genes):
        width = self.settings.width
        return nn.Sequential(nn.Linear(n_features, width), nn.GELU(), nn.Linear(width, n_genes))

    def _prepare(self, train, validation, context):
        features = np.concatenate([slide.inputs.features for slide in train])
        self.mean_, self.scale_ = features.mean(axis=0), features.std(axis=0) + 1e-6
        self._new_module(context, n_features=features.shape[1], n_genes=context.n_genes)
        return Regression(self, train, validation, context.device)

    def read(self, inputs):
        return torch.from_numpy((inputs.features - self.mean_) / self.scale_)

    @torch.no_grad()
    def predict(self, inputs, draws, seed):
        device = next(self.module_.parameters()).device
        return self.module_(self.read(inputs).to(device)).cpu().numpy()[None]  # (1 draw, n_spots, n_genes)


class Regression:
    """Mean squared error over the genes of some spots of one slide."""

    def __init__(self, method, train, validation, device):
        self.method, self.validation, self.device = method, validation, device
        self.pairs = [(method.read(slide.inputs), torch.tensor(slide.expression)) for slide in train]
        self.epoch_length = len(train)

    def losses(self, module, index, generator):
        features, expression = self.pairs[index % len(self.pairs)]
        spots = torch.randperm(len(features), generator=generator)[: self.method.settings.batch]
        predicted = module(features[spots].to(self.device))
        return {"total": nn.functional.mse_loss(predicted, expression[spots].to(self.device))}

    def score(self, module):
        with lent(self.method, module):
            slides = [(slide.expression, self.method.predict(slide.inputs, 1, 0)[0]) for slide in self.validation]
        return mean_slide_correlation(slides)
