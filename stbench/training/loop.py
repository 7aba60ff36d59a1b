"""The one training loop: device, precision, accumulation, clipping, EMA, validation, checkpoint and resume."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from stbench.errors import DataError, RunFailedError
from stbench.reporting import SILENT, Reporter
from stbench.text import first_line
from stbench.training.checkpoint import CHECKPOINT, Stateful, read_checkpoint, write_checkpoint
from stbench.training.history import History
from stbench.training.memory import free, kept_on_host, moved_by_passes, weighing
from stbench.training.precision import computing
from stbench.training.stepper import Stepper
from stbench.training.together import PassBudget, TogetherObjective, apart, parts_of

if TYPE_CHECKING:
    from stbench.training.settings import TrainingSettings

_UNREAD = 32  # micro-steps whose losses may wait to be read: each time, the host waits for the device


class Objective(Protocol):
    """What a method wants minimised, and how it wants its weights judged."""

    @property
    def epoch_length(self) -> int:
        """Micro-steps of one pass over the training windows."""

    def losses(self, module: nn.Module, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Loss terms of micro-step ``index`` (counted over all epochs); ``"total"`` is what is minimised.

        Everything random comes from ``generator``, so that a resumed run repeats an uninterrupted one.
        """

    def score(self, module: nn.Module) -> float:
        """Quality on the validation slides, higher is better."""


@dataclass(frozen=True)
class Outcome:
    """How training went.

    Args:
        score: best validation score, that of the weights the module is left with.
        updates: optimiser updates made.
        best_update: update at which the best weights were seen.
        seconds: wall time.
    """

    score: float
    updates: int
    best_update: int
    seconds: float

    def text(self, score: str = "PCC") -> str:
        """One line for the user; ``score`` names what validation measures (a loss counts as its negative)."""
        best = abs(self.score) if score == "loss" else self.score
        return (
            f"trained {self.updates} updates in {self.seconds:.0f} s; "
            f"best validation {score} {best:.3f} at update {self.best_update}"
        )


class Seen(NamedTuple):
    """What a micro-step left on the device.

    Args:
        update: updates made before it.
        norm: of the gradient.
        terms: of the loss.
    """

    update: int
    norm: Tensor
    terms: dict[str, Tensor]


def total_updates(settings: TrainingSettings, epoch_length: int) -> int:
    """Optimiser updates of a full training: the smaller of ``epochs`` and ``max_updates``."""
    by_epochs = max(1, settings.epochs * epoch_length // settings.accumulate)
    return min(by_epochs, settings.max_updates or by_epochs)


class Trainer:
    """Trains one module.

    Args:
        module: the network, on its device.
        objective: losses and validation score.
        settings: rules of the loop.
        seed: seed of batches, noise and dropout.
        device: ``"cpu"`` or ``"cuda"``.
        folder: where checkpoint and ``history.csv`` go, None for none.
        reporter: where progress goes.
        score: what validation measures, for the history.
        budget: how many micro-steps share a pass, where the objective can do so; None asks for as many as a GPU has
            memory for, and for one at a time on a CPU, where more do not pay.
    """

    def __init__(
        self,
        module: nn.Module,
        objective: Objective,
        settings: TrainingSettings,
        *,
        seed: int = 0,
        device: str = "cpu",
        folder: Path | None = None,
        reporter: Reporter = SILENT,
        score: str = "PCC",
        budget: PassBudget | None = None,
    ) -> None:
        self.module, self.objective, self.settings = module, objective, settings
        self.seed, self.device, self.folder, self.reporter = seed, device, folder, reporter
        optimizer = torch.optim.AdamW(
            module.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
        )
        self.stepper = Stepper(module, optimizer, settings)
        self.best_score = -math.inf
        self.best_update = 0
        self.best_state = _copy(self.stepper.averaged)
        self.stale = 0
        self.history = History(score, folder)
        self._unread: list[Seen] = []
        self._short = False  # of memory
        self._budget = self._shared(budget)

    def run(self, *, resume: bool = False) -> Outcome:
        """Train to the end and leave the best averaged weights in the module, in evaluation mode.

        Args:
            resume: go on from the checkpoint in ``folder`` if there is one and it is what was written.

        Raises:
            RunFailedError: a loss or gradient is not finite; names the step, the loss terms and the last checkpoint.
                Or the device has no memory for an update even when the host keeps what the backward pass needs.
            DataError: the checkpoint to resume from is of another module or other settings.
            UserError: checkpoint or history cannot be written.
        """
        start = time.perf_counter()
        if resume:
            self._load()
        self.history.write()  # nothing of an earlier run beyond the checkpoint stays
        before = self.history.seconds
        goal = total_updates(self.settings, self.objective.epoch_length)
        with self.reporter.track("training", goal) as advance:
            advance(self.stepper.updates)
            while self.stepper.updates < goal and self.stale < self.settings.patience:
                self._one_update()
                due = self.stepper.updates % self.settings.validate_every == 0 or self.stepper.updates == goal
                if due or len(self._unread) >= _UNREAD:
                    self._read()
                if due:
                    self._validate(before + time.perf_counter() - start)
                advance(1, note=f"validation {self.best_score:.3f}" if due else "")
        self.module.load_state_dict(self.best_state)
        self.module.eval()
        return Outcome(self.best_score, self.stepper.updates, self.best_update, time.perf_counter() - start)

    def seconds_per_update(self) -> float:
        """Wall time of one update, from a part of it; throw the trainer and its module away afterwards."""
        self._part_of_update(0)  # the first one pays for memory and library start-up
        start = time.perf_counter()
        return self._part_of_update(1) * (time.perf_counter() - start)

    def _part_of_update(self, index: int) -> int:
        """Carry out a micro-step, or an update where micro-steps share passes; how many of it make an update."""
        if self._budget is not None:
            self._one_update()
        else:
            self._micro_step(index, torch.Generator().manual_seed(self.seed + index))
        self._read()
        return 1 if self._budget is not None else self.settings.accumulate

    def _one_update(self) -> None:
        statistics = [(part, part.clone()) for part in moved_by_passes(self.module)]
        try:
            self._attempt()
        except torch.OutOfMemoryError as error:
            self._give_way(first_line(error))
        else:
            return
        free()  # outside of the handler, whose traceback holds on to what did not fit
        for part, before in statistics:
            part.copy_(before)
        self._one_update()

    def _attempt(self) -> None:
        """An update, as often as need be: it starts from the same weights and random numbers."""
        self.module.train()
        update = self.stepper.updates
        generator = torch.Generator().manual_seed(_mix(self.seed, update))
        with torch.random.fork_rng(devices=[0] if self.device == "cuda" else []):
            torch.manual_seed(_mix(self.seed, update) + 1)  # dropout
            indices = range(update * self.settings.accumulate, (update + 1) * self.settings.accumulate)
            if self._budget is not None:
                self._share_passes(self._budget, indices, generator)
                return
            for index in indices:
                self._micro_step(index, generator)

    def _give_way(self, said: str) -> None:
        """Forget the update that did not fit, and ask for less memory from now on."""
        update = self.stepper.updates
        self.stepper.forget()
        self._unread = [one for one in self._unread if one.update < update]
        if self._budget is not None and self._budget.halve():
            self.reporter.info(
                f"{self.device} had no memory left in update {update}; half as many windows share a pass from now on, "
                "which changes numbers by rounding alone"
            )
            return
        if self._short:
            raise RunFailedError(
                f"expected {self.device} to have memory for update {update}, found none left though the host kept what "
                f"the backward pass needs ({said}); lower batch_windows or the size of windows, or use a larger device"
            )
        self._short = True
        self.reporter.info(
            f"{self.device} had no memory left in update {update}; the host keeps what the backward pass needs from "
            "now on, which is slower and changes no number"
        )

    def _micro_step(self, index: int, generator: torch.Generator) -> None:
        with self._frugally():
            terms = self.objective.losses(self.module, index, generator)
        self._learn([terms])

    def _shared(self, budget: PassBudget | None) -> PassBudget | None:
        """What bounds the passes that micro-steps share, None where each has its own."""
        alone = self.settings.clip_rule == "micro" or self.settings.accumulate == 1
        if alone or not isinstance(self.objective, TogetherObjective):
            return None
        return PassBudget() if budget is None and self.device == "cuda" else budget

    def _share_passes(self, budget: PassBudget, indices: range, generator: torch.Generator) -> None:
        objective, first = self.objective, indices.start
        assert isinstance(objective, TogetherObjective)
        for batches in budget.passes(map(objective.micro_batch, indices)):
            chances = [self._chance(first + k) for k in range(len(batches))]
            with weighing(budget, batches, self.device), self._frugally(), apart(parts_of(batches, chances)):
                self._learn(objective.losses_together(self.module, batches, generator))
            first += len(batches)

    def _chance(self, index: int) -> torch.Generator:
        """What dropout of a micro-step draws from, whatever shares its pass."""
        return torch.Generator("cuda" if self.device == "cuda" else "cpu").manual_seed(_mix(self.seed, index) + 1)

    @contextmanager
    def _frugally(self) -> Iterator[None]:
        """As precise as the settings say, in as little memory as there is."""
        with kept_on_host() if self._short else nullcontext(), computing(self.settings, self.device):
            yield

    def _learn(self, steps: Sequence[dict[str, Tensor]]) -> None:
        """Go back through the loss terms of the micro-steps of one pass."""
        update = self.stepper.updates
        totals = [terms["total"] for terms in steps]
        norm = self.stepper.micro_step(totals[0] if len(steps) == 1 else torch.stack(totals).sum(), len(steps))
        seen = ({name: term.detach() for name, term in terms.items()} for terms in steps)
        self._unread.extend(Seen(update, norm, terms) for terms in seen)

    def _read(self) -> None:
        """Read what the micro-steps left on the device; raises RunFailedError at the first that is not finite."""
        seen, self._unread = self._unread, []
        if not seen:
            return
        finite = torch.isfinite(torch.stack([one.norm for one in seen])).tolist()
        if not all(finite):
            first = seen[finite.index(False)]
            raise RunFailedError(self._diagnosis(first.update, first.terms))
        for loss in torch.stack([one.terms["total"] for one in seen]).tolist():
            self.history.saw(loss)

    def _diagnosis(self, update: int, terms: dict[str, Tensor]) -> str:
        values = ", ".join(f"{name} {float(value):.4g}" for name, value in terms.items())
        kept = f"last good checkpoint at update {self.best_update}" if self.folder else "no checkpoint was kept"
        return (
            f"training gave a value that is not finite at update {update} ({values}); {kept}; lower the learning rate"
        )

    def _validate(self, seconds: float) -> None:
        with torch.no_grad():
            score = self.objective.score(self.stepper.averaged.eval())
        if not math.isfinite(score):
            raise RunFailedError(self._diagnosis(self.stepper.updates, {"validation": torch.tensor(score)}))
        if score > self.best_score:
            self.best_score, self.best_update, self.stale = score, self.stepper.updates, 0
            self.best_state = _copy(self.stepper.averaged)
        else:
            self.stale += 1
        self.history.evaluated(self.stepper.updates, score, self.stepper.learning_rate, seconds)
        self.history.write()
        self._save()

    def _save(self) -> None:
        if self.folder is None:
            return
        state = {
            "module": self.module.state_dict(),
            "ema": self.stepper.averaged.state_dict(),
            "best": self.best_state,
            "optimizer": self.stepper.optimizer.state_dict(),
            "counters": [self.stepper.updates, self.best_update, self.stale],
            "best_score": self.best_score,
            "history": self.history.lines,
            "settings": self.settings.model_dump_json(),
        }
        write_checkpoint(self.folder / CHECKPOINT, state)

    def _load(self) -> None:
        if self.folder is None or not (self.folder / CHECKPOINT).is_file():
            return
        path = self.folder / CHECKPOINT
        parts: dict[str, Stateful] = {
            "module": self.module,
            "ema": self.stepper.averaged,
            "optimizer": self.stepper.optimizer,
        }
        state = read_checkpoint(path, parts, self.device, self.reporter)
        if state is None:
            return
        if state["settings"] != self.settings.model_dump_json():
            raise DataError(f"the checkpoint {path} was made with other training settings; choose another --out")
        self.stepper.updates, self.best_update, self.stale = state["counters"]
        self.best_score, self.best_state = state["best_score"], state["best"]
        self.history.lines = state.get("history", [])  # older checkpoints have none


def _mix(seed: int, update: int) -> int:
    return (seed * 1_000_003 + update) * 2 + 17


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
