"""The training loop on a problem with a known answer: fit y = 2x with one weight."""

import csv
import math

import pytest
import torch
from torch import nn

from stbench.errors import DataError, RunFailedError
from stbench.reporting import Silent
from stbench.training.checkpoint import CHECKPOINT
from stbench.training.history import HISTORY
from stbench.training.loop import Trainer, total_updates
from stbench.training.settings import TrainingSettings
from stbench.training.stepper import Stepper


class Line:
    """y = 2x from eight points drawn per micro-step."""

    epoch_length = 4

    def __init__(self, fail_at: int | None = None) -> None:
        self.fail_at = fail_at
        self.seen: list[int] = []

    def losses(self, module, index, generator):
        self.seen.append(index)
        x = torch.randn(8, 1, generator=generator)
        loss = ((module(x) - 2 * x) ** 2).mean()
        return {"total": loss * (math.nan if index == self.fail_at else 1), "fit": loss}

    def score(self, module):
        return -abs(float(module.weight) - 2)


def line_settings(**changes) -> TrainingSettings:
    values = {"lr": 0.05, "weight_decay": 0, "accumulate": 2, "epochs": 30, "validate_every": 4, "ema": 0.9} | changes
    return TrainingSettings(**values)


def new_module() -> nn.Linear:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    return module


def test_training_finds_the_slope_and_returns_the_best_average():
    module = new_module()
    outcome = Trainer(module, Line(), line_settings()).run()
    assert float(module.weight.detach()) == pytest.approx(2, abs=0.05)
    assert outcome.score == pytest.approx(-abs(float(module.weight.detach()) - 2))
    assert not module.training


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole = new_module()
    Trainer(whole, Line(), line_settings(), seed=3).run()
    with pytest.raises(RunFailedError):
        Trainer(new_module(), Line(fail_at=41), line_settings(), seed=3, folder=tmp_path).run()
    resumed, second = new_module(), Line()
    Trainer(resumed, second, line_settings(), seed=3, folder=tmp_path).run(resume=True)
    assert min(second.seen) > 0, "the second run started anew"
    assert torch.equal(whole.weight, resumed.weight)


def lines_of(folder):
    """The history without its last column, wall time."""
    with (folder / HISTORY).open() as file:
        return [row[:-1] for row in csv.reader(file)]


def test_the_history_has_a_line_per_evaluation(tmp_path):
    rules = line_settings(epochs=5, warmup_updates=3)
    trainer = Trainer(new_module(), Line(), rules, folder=tmp_path)
    losses, seen = trainer.objective.losses, []

    def watched(*given):
        terms = losses(*given)
        seen.append(float(terms["total"].detach()))
        return terms

    trainer.objective.losses = watched
    outcome = trainer.run()
    header, *lines = lines_of(tmp_path)
    assert header == ["update", "loss", "validation_pcc", "learning_rate"]
    assert [int(line[0]) for line in lines] == [4, 8, 10]
    means = [sum(part) / len(part) for part in (seen[:8], seen[8:16], seen[16:])]
    assert [float(line[1]) for line in lines] == pytest.approx(means, rel=1e-5)
    assert max(float(line[2]) for line in lines) == pytest.approx(outcome.score, rel=1e-5)
    assert [float(line[3]) for line in lines] == pytest.approx([0.05] * 3)
    seconds = [float(line.rpartition(",")[2]) for line in (tmp_path / HISTORY).read_text().splitlines()[1:]]
    assert seconds == sorted(seconds)
    assert 0 < seconds[-1] <= outcome.seconds


@pytest.mark.parametrize("kept", ["all", "one line too many", "half a line"])
def test_an_interrupted_history_equals_an_uninterrupted_one(tmp_path, kept):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    Trainer(new_module(), Line(), line_settings(), seed=3, folder=whole).run()
    with pytest.raises(RunFailedError):
        Trainer(new_module(), Line(fail_at=41), line_settings(), seed=3, folder=parts).run()
    assert lines_of(parts) == lines_of(whole)[: 1 + 41 // 2 // 4]
    with (parts / HISTORY).open("a") as file:  # what a power cut may leave
        file.write({"all": "", "one line too many": "24,0.5,0.5,0.05,9\n", "half a line": "24,0"}[kept])
    Trainer(new_module(), Line(), line_settings(), seed=3, folder=parts).run(resume=True)
    assert lines_of(parts) == lines_of(whole)
    assert len(lines_of(whole)) == 1 + 15


def test_a_run_anew_starts_an_empty_history(tmp_path):
    (tmp_path / HISTORY).write_text("update\n999\n")
    with pytest.raises(RunFailedError):
        Trainer(new_module(), Line(fail_at=0), line_settings(), folder=tmp_path).run()
    assert lines_of(tmp_path) == [["update", "loss", "validation_pcc", "learning_rate"]]


def test_a_loss_is_written_as_it_is(tmp_path):
    Trainer(new_module(), Line(), line_settings(), folder=tmp_path, score="loss").run()
    header, *lines = lines_of(tmp_path)
    assert header[2] == "validation_loss"
    assert all(float(line[2]) >= 0 for line in lines)


def test_a_value_that_is_not_finite_names_step_terms_and_checkpoint(tmp_path):
    with pytest.raises(RunFailedError, match=r"update 20 \(total nan, fit .*last good checkpoint at update \d+"):
        Trainer(new_module(), Line(fail_at=41), line_settings(), folder=tmp_path).run()


def test_losses_wait_on_the_device_until_a_line_is_due():
    trainer = Trainer(new_module(), Line(), line_settings(epochs=2, validate_every=4), seed=3)
    read, history = [], trainer.history
    history.saw = read.append
    trainer._one_update()
    assert not read
    history._losses = [0.0]
    trainer.run()
    assert len(read) == 2 * 4


def test_accumulating_with_the_mean_equals_one_large_batch():
    x = torch.arange(1.0, 5.0)[:, None]
    small, large = new_module(), new_module()
    for module, parts in ((small, x.split(1)), (large, (x,))):
        rules = line_settings(accumulate=len(parts), clip=100.0)
        stepper = Stepper(module, torch.optim.SGD(module.parameters(), lr=rules.lr), rules)
        for part in parts:
            stepper.micro_step(((module(part) - 2 * part) ** 2).mean())
    assert torch.allclose(small.weight, large.weight)


@pytest.mark.parametrize(("rule", "expected"), [("update", 1.0), ("micro", 1.0 - 0.25)])
def test_clip_rules_differ_on_gradients_that_cancel(rule, expected):
    """Gradients 4 then -0.25 with limit 1: clipped once, the sum 3.75 becomes 1; clipped each time, 1 - 0.25."""
    module = new_module()
    rules = line_settings(accumulate=2, accumulate_rule="sum", clip=1.0, clip_rule=rule, lr=1.0)
    stepper = Stepper(module, torch.optim.SGD(module.parameters(), lr=1.0), rules)
    for slope in (4.0, -0.25):
        stepper.micro_step(module.weight.sum() * slope)
    assert float(module.weight.detach()) == pytest.approx(-expected, abs=1e-5)


def test_average_starts_from_the_initial_weights():
    module = new_module()
    rules = line_settings(accumulate=1, accumulate_rule="sum", ema=0.9, ema_warmup=False, clip=100.0, lr=1.0)
    stepper = Stepper(module, torch.optim.SGD(module.parameters(), lr=1.0), rules)
    stepper.micro_step(module.weight.sum() * -1.0)
    assert float(stepper.averaged.weight.detach()) == pytest.approx(0.1)
    stepper.micro_step(module.weight.sum() * -1.0)
    assert float(stepper.averaged.weight.detach()) == pytest.approx(0.9 * 0.1 + 0.1 * 2)


def test_stops_when_nothing_improves():
    class Flat(Line):
        def score(self, module):
            return 0.0

    outcome = Trainer(new_module(), Flat(), line_settings(patience=3, validate_every=2)).run()
    assert outcome.updates == 2 * 4
    assert outcome.best_update == 2


def test_cosine_ends_near_zero_and_warmup_starts_small():
    rules = line_settings(schedule="cosine", max_updates=10, warmup_updates=3, accumulate=1)
    module = new_module()
    stepper = Stepper(module, torch.optim.SGD(module.parameters(), lr=1.0), rules)
    rates = []
    for _ in range(10):
        stepper.micro_step(module.weight.sum())
        rates.append(stepper.optimizer.param_groups[0]["lr"] / rules.lr)
    assert rates[0] == pytest.approx(0.25)
    assert max(rates) == rates[3]
    assert rates[-1] < 0.05


def test_updates_are_bounded_by_epochs_and_by_max_updates():
    assert total_updates(line_settings(epochs=10), epoch_length=4) == 20
    assert total_updates(line_settings(epochs=10, max_updates=7), epoch_length=4) == 7
    assert total_updates(line_settings(epochs=1, accumulate=16), epoch_length=4) == 1


def zero(content):
    return content[:700] + bytes(512) + content[1212:]


def flip(content):
    return content[:900] + bytes([content[900] ^ 1]) + content[901:]


def cut(content):
    return content[:-70]


@pytest.mark.parametrize("damage", [zero, flip, cut, lambda content: b""])
def test_training_begins_anew_where_its_checkpoint_is_damaged(tmp_path, damage):
    whole = new_module()
    Trainer(whole, Line(), line_settings(), seed=3).run()
    with pytest.raises(RunFailedError):
        Trainer(new_module(), Line(fail_at=41), line_settings(), seed=3, folder=tmp_path).run()
    (tmp_path / CHECKPOINT).write_bytes(damage((tmp_path / CHECKPOINT).read_bytes()))
    lines, again, objective = [], new_module(), Line()
    reporter = Silent()
    reporter.info = lines.append
    Trainer(again, objective, line_settings(), seed=3, folder=tmp_path, reporter=reporter).run(resume=True)
    assert torch.equal(whole.weight, again.weight)
    assert min(objective.seen) == 0
    (said,) = lines
    assert said.startswith(f"expected a training checkpoint in {tmp_path / CHECKPOINT}, found ")


def test_checkpoint_of_other_settings_is_refused(tmp_path):
    Trainer(new_module(), Line(), line_settings(epochs=2), folder=tmp_path).run()
    with pytest.raises(DataError, match="other training settings"):
        Trainer(new_module(), Line(), line_settings(epochs=4), folder=tmp_path).run(resume=True)


class Crowded(Line):
    """A device that has no memory left, before or after some of an update's gradients are there."""

    def __init__(self, times: int, where: str) -> None:
        super().__init__()
        self.times, self.where = times, where

    def losses(self, module, index, generator):
        terms = super().losses(module, index, generator)
        if index != 11 or not self.times:  # the second half of update 5
            return terms
        self.times -= 1
        if self.where == "forward":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return {**terms, "total": Full.apply(terms["total"])}

    def score(self, module):
        return -float(module(torch.ones(1, 1)).sub(2).abs())


class Full(torch.autograd.Function):
    """No memory on the way back."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise torch.OutOfMemoryError("CUDA out of memory.")


def normed() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1))


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_training_without_memory_goes_on_with_the_same_numbers(where, tmp_path):
    whole, crowded = tmp_path / "whole", tmp_path / "crowded"
    for folder, times in ((whole, 0), (crowded, 1)):
        folder.mkdir()
        Trainer(normed(), Crowded(times, where), line_settings(), seed=3, folder=folder).run()
    states = [torch.load(folder / CHECKPOINT, weights_only=True) for folder in (whole, crowded)]
    for part in ("module", "ema"):
        for name, value in states[0][part].items():
            assert torch.equal(value, states[1][part][name]), name
    assert lines_of(whole) == lines_of(crowded)


def test_the_host_keeps_what_backward_needs_from_then_on():
    def kept(times):
        module, stored = new_module(), []
        trainer = Trainer(module, Crowded(times, "forward"), line_settings(), seed=3)
        with torch.autograd.graph.saved_tensors_hooks(lambda x: stored.append(x.data_ptr()) or x, lambda x: x):
            trainer.run()
        return len(stored)

    assert kept(0) > 2 * kept(1)  # the innermost hooks see them, and those are of the host


def test_an_update_that_fits_nowhere_is_a_failed_run():
    with pytest.raises(RunFailedError, match=r"memory for update 5, found none left though the host kept.*lower batch"):
        Trainer(new_module(), Crowded(2, "forward"), line_settings(), seed=3).run()
