"""What every method with a trained network shares: the frame of ``fit``, the trainer, the probe behind estimates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from stbench.methods.base import Context, LabelledSlide, Method, SlideInputs
from stbench.methods.nn.released import released_state
from stbench.training.loop import Objective, Trainer, total_updates
from stbench.training.precision import computing
from stbench.training.settings import TrainingSettings
from stbench.training.together import PassBudget


class TrainedMethod(Method):
    """A method whose network the training loop fits, or a released file fills.

    A subclass says in :meth:`_prepare` what is learnt and, if its settings have ``weights``, in :meth:`_take` how the
    file fills the network.
    """

    module_: nn.Module
    sizes_: dict[str, int]

    def fit(self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context) -> None:
        """Train, or take the released weights that the settings name.

        Raises:
            RunFailedError: a loss or gradient is not finite.
            DataError: a slide lacks what the method reads, or a file of weights does not fit.
            SettingError: the settings do not fit the training slides.
        """
        trainer = self._trainer(train, validation, context)
        if self._weights is None:
            said = trainer.run(resume=context.resume).text(self._score_name)
        else:
            self._take(*released_state(self._weights))
            self.module_.eval()
            said = f"took the weights in {self._weights}; nothing was trained"
        remark = self._conclude(trainer.objective)
        context.reporter.info(f"{said}; {remark}" if remark else said)

    def estimate_seconds(
        self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], draws: int, context: Context
    ) -> float | None:
        """Seconds of training, predicting left out: for methods that predict in a pass or two."""
        if self._weights is not None:
            return None
        trainer = self._probe(train, context)
        return total_updates(self.settings, trainer.objective.epoch_length) * trainer.seconds_per_update()

    def computing(self) -> AbstractContextManager[None]:
        """As precise as the settings say, where the fitted network is; wraps what asks it for a prediction."""
        return computing(self.settings, next(self.module_.parameters()).device.type)

    @abstractmethod
    def _prepare(
        self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context
    ) -> Objective:
        """Learn the statistics, make the untrained network, and say what it is to be trained on."""

    def _take(self, state: Mapping[str, Tensor], where: str) -> None:
        """Fill the network with tensors under released names; ``where`` calls them something in a message."""
        raise NotImplementedError(f"{type(self).__name__} takes no released weights")

    def _conclude(self, objective: Any) -> str:
        """Learn what needs the final network; a remark for the user, empty for none."""
        return ""

    @property
    def _score_name(self) -> str:
        """What validation measures; a loss counts as its negative."""
        return "PCC"

    @property
    def _weights(self) -> str | None:
        weights: str | None = getattr(self.settings, "weights", None)
        return weights

    def _rules(self, objective: Objective) -> TrainingSettings:
        """Rules of the loop."""
        rules: TrainingSettings = self.settings
        return rules

    def _new_module(self, context: Context, **sizes: int) -> None:
        """The untrained network on its device, a function of seed and sizes."""
        self.sizes_ = sizes
        with seeded(context.seed):
            self.module_ = self.build(**sizes).to(context.device)

    def _trainer(
        self,
        train: Sequence[LabelledSlide],
        validation: Sequence[LabelledSlide],
        context: Context,
        budget: PassBudget | None = None,
    ) -> Trainer:
        objective = self._prepare(train, validation, context)
        return Trainer(
            self.module_,
            objective,
            self._rules(objective),
            seed=context.seed,
            device=context.device,
            folder=context.workdir,
            reporter=context.reporter,
            score=self._score_name,
            budget=budget,
        )

    def _probe(self, train: Sequence[LabelledSlide], context: Context) -> Trainer:
        """The trainer of a twin, to be timed and thrown away: this method stays unfitted, nothing is written."""
        unseen = Context(context.genes, seed=context.seed, device=context.device)
        return type(self)(self.settings)._trainer(train, train[:1], unseen)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's randomness inside the block comes from the seed; outside it goes on as if nothing had been drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextmanager
def lent(method: TrainedMethod, module: nn.Module) -> Iterator[None]:
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
