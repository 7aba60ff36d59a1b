"""A method small enough to be run a hundred times, with all that a run of a large one leaves."""

import os

import numpy as np
import torch
from torch import nn

from stbench.methods.base import Method, NoSettings
from stbench.training.loop import Trainer
from stbench.training.settings import TrainingSettings

STOP = "STBENCH_TEST_STOP"  # where to end as if interrupted: an update, or the name of a slide
RULES = TrainingSettings(
    lr=0.05, weight_decay=0.0, accumulate=1, epochs=8, max_updates=8, validate_every=2, ema=0.9, precision="float32"
)


class Linear:
    """Squared error of a linear map on all training spots at once, with noise on the features."""

    epoch_length = 1

    def __init__(self, train, validation):
        self.train, self.validation = train, validation

    def losses(self, module, index, generator):
        if os.environ.get(STOP) == str(index):
            raise KeyboardInterrupt
        terms = [self._loss(module, slide, generator) for slide in self.train]
        return {"total": torch.stack(terms).mean()}

    def score(self, module):
        return -float(np.mean([float(self._loss(module, slide)) for slide in self.validation]))

    @staticmethod
    def _loss(module, slide, generator=None):
        x, y = torch.from_numpy(slide.inputs.features), torch.from_numpy(slide.expression)
        if generator is not None:
            x = x + 0.1 * torch.randn(x.shape, generator=generator)
        return (module(x) - y).square().mean()


class Trained(Method):
    """A linear map of the features, trained by the loop that every network is trained by; two noisy draws."""

    Settings = NoSettings
    card = {"kind": "generative", "draws": 2}  # noqa: RUF012

    def build(self, **sizes):
        return nn.Linear(sizes["n_features"], sizes["n_genes"])

    def fit(self, train, validation, context):
        self.sizes_ = {"n_features": train[0].inputs.features.shape[1], "n_genes": context.n_genes}
        with torch.random.fork_rng():
            torch.manual_seed(context.seed)
            self.module_ = self.build(**self.sizes_)
        objective = Linear(train, validation)
        trainer = Trainer(
            self.module_, objective, RULES, seed=context.seed, folder=context.workdir, reporter=context.reporter
        )
        trainer.run(resume=context.resume)

    @torch.no_grad()
    def predict(self, inputs, draws, seed):
        if os.environ.get(STOP) == inputs.slide_id:
            raise KeyboardInterrupt
        mean = self.module_(torch.from_numpy(inputs.features)).numpy()
        noise = [np.random.default_rng([seed, draw]).normal(size=mean.shape) for draw in range(draws)]
        return np.stack([mean + 0.1 * part for part in noise]).astype(np.float32)
