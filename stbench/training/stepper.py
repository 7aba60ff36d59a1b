"""From the gradient of a loss to new weights and their average."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from stbench.training.settings import TrainingSettings


class Stepper:
    """Backward, accumulate, clip, step and average: what happens between a loss and new weights.

    Args:
        module: the network.
        optimizer: its optimiser.
        settings: accumulation, clipping and averaging rules.
    """

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, settings: TrainingSettings) -> None:
        self.module = module
        self.optimizer = optimizer
        self.settings = settings
        self.averaged = copy.deepcopy(module)  # the average starts from the initial weights, as released
        self.updates = 0
        self._pending = 0

    def micro_step(self, loss: Tensor, steps: int = 1) -> Tensor:
        """Add the gradient of one loss; updates the weights after ``settings.accumulate`` of them.

        Args:
            loss: of a micro-step, or the sum over ``steps`` of them.
            steps: how many it is the loss of.

        Returns:
            Norm of the gradient accumulated so far, before any clipping. Where it is not finite, the weights are lost:
            to find out first would make the host wait for the device at every step.
        """
        rules = self.settings
        (loss / rules.accumulate if rules.accumulate_rule == "mean" else loss).backward()  # type: ignore[no-untyped-call]
        self._pending += steps
        due = self._pending == rules.accumulate
        limit = rules.clip if due or rules.clip_rule == "micro" else math.inf
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), limit)
        if due:
            self._update()
        return norm

    def forget(self) -> None:
        """Drop what was accumulated since the last update."""
        self.optimizer.zero_grad(set_to_none=True)
        self._pending = 0

    @property
    def learning_rate(self) -> float:
        """Rate of the last update."""
        return float(self.optimizer.param_groups[0]["lr"])

    def _update(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * self._lr_factor()
        self.optimizer.step()
        self.forget()
        self._average()
        self.updates += 1

    def _lr_factor(self) -> float:
        rules = self.settings
        warm = min(1.0, (self.updates + 1) / (rules.warmup_updates + 1))
        if rules.schedule == "constant" or rules.max_updates is None:
            return warm
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, self.updates / rules.max_updates)))

    @torch.no_grad()
    def _average(self) -> None:
        n = self.updates
        decay = min(self.settings.ema, (1 + n) / (10 + n)) if self.settings.ema_warmup else self.settings.ema
        pairs = list(zip(_state(self.averaged), _state(self.module), strict=True))
        weights = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([one for one, _ in weights], [other for _, other in weights], 1 - decay)
        for averaged, current in pairs:
            if not averaged.is_floating_point():  # counters, as those of batch normalisation
                averaged.copy_(current)


def _state(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
