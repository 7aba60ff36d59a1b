"""What every method with a network does around the training loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from stbench.methods.base import Context, LabelledSlide
from stbench.training.loop import Objective, Trainer
from stbench.training.settings import TrainingSettings


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's randomness inside the block comes from the seed; outside it goes on as if nothing had been drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def make_trainer(module: nn.Module, objective: Objective, settings: TrainingSettings, context: Context) -> Trainer:
    """The training loop under what the harness says of the run."""
    return Trainer(
        module,
        objective,
        settings,
        seed=context.seed,
        device=context.device,
        folder=context.workdir,
        reporter=context.reporter,
    )


@contextmanager
def lent(method: Any, module: nn.Module) -> Iterator[None]:
    """The method predicts with another module, e.g. the averaged weights that validation judges."""
    own = method.module_
    method.module_ = module
    try:
        yield
    finally:
        method.module_ = own


def without_features(train: Sequence[LabelledSlide]) -> str | None:
    """The reason to refuse a task whose spots have no image features, None if they have."""
    return None if train[0].inputs.features.shape[1] else "there are no image features to condition on"
