"""Micro-steps that share a pass: which go together, and that nothing but rounding tells it afterwards."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from stbench.errors import RunFailedError
from stbench.methods.base import Context
from stbench.methods.nn.lean import dropped
from stbench.methods.registry import find_method, method_class, resolve_settings
from stbench.proofs.contract_bench import GENES, Bench
from stbench.reporting import Silent
from stbench.training.loop import Trainer
from stbench.training.settings import TrainingSettings
from stbench.training.together import Part, PassBudget, apart, parts_of_batch

METHODS = ["flag", "joint-diffusion", "node-diffusion"]


class Sized:
    """A batch that has a size alone."""

    def __init__(self, windows, size):
        self.shape = (windows, size)


def passes(budget, *shapes):
    return [[batch.shape for batch in some] for some in budget.passes([Sized(*shape) for shape in shapes])]


def test_as_many_go_together_as_the_budget_holds():
    assert passes(PassBudget(3), *[(1, 10)] * 7) == [[(1, 10)] * 3, [(1, 10)] * 3, [(1, 10)]]
    assert passes(PassBudget(1), *[(2, 10)] * 3) == [[(2, 10)]] * 3


def test_a_large_window_counts_with_its_pairs_and_pads_the_others():
    assert passes(PassBudget(8), (1, 10), (1, 20), (1, 10)) == [[(1, 10), (1, 20)], [(1, 10)]]
    assert passes(PassBudget(8), (1, 10), (1, 40), (1, 10)) == [[(1, 10)], [(1, 40)], [(1, 10)]]


def test_small_windows_count_with_their_places():
    assert passes(PassBudget(1), (1, 20), (1, 10), (1, 10), (1, 10)) == [[(1, 20)], [(1, 10), (1, 10)], [(1, 10)]]


def test_the_first_micro_step_goes_alone_until_it_was_weighed():
    budget, seen = PassBudget(), []
    for some in budget.passes(Sized(1, 10) for _ in range(8)):
        seen.append(len(some))
        budget.weigh(some, taken=100 * len(some), spare=500)
    assert seen == [1, 3, 3, 1]  # 0.7 of what is spare


def test_a_larger_pass_says_better_what_windows_take_than_a_small_one():
    budget = PassBudget()
    assert [len(some) for some in _weighed(budget, [Sized(1, 2)] + [Sized(1, 10)] * 4)] == [1, 1, 3]


def _weighed(budget, batches):
    """Passes of a device that keeps 100 bytes whatever comes, and 1 for each place."""
    for some in budget.passes(batches):
        yield some
        taken = 100 + sum(batch.shape[0] for batch in some) * max(batch.shape[1] for batch in some)
        budget.weigh(some, taken, spare=1000)


def test_half_of_a_budget_is_left_until_one_micro_step_is():
    budget, most = PassBudget(5), []
    while True:
        most.append(max(len(some) for some in budget.passes([Sized(1, 10)] * 8)))
        if not budget.halve():
            break
    assert most == [5, 2, 1]


def test_parts_of_a_batch_draw_what_they_draw_alone():
    def mask(*parts):
        with apart(parts):
            windows, size = parts[-1].windows.stop, max(part.size for part in parts)
            return dropped(torch.ones(windows, size, 7), 0.4, training=True)

    def chance(seed):
        return torch.Generator().manual_seed(seed)

    both = mask(Part(slice(0, 2), 5, chance(1)), Part(slice(2, 3), 9, chance(2)))
    assert torch.equal(both[:2, :5], mask(Part(slice(0, 2), 5, chance(1))))
    assert torch.equal(both[2:], mask(Part(slice(0, 1), 9, chance(2))))
    assert parts_of_batch() is None


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    return {name: Bench(find_method(name), tmp_path_factory.mktemp(name)) for name in METHODS}


def trained(bench, load, monkeypatch, **changes):
    """A method after a few updates whose passes hold micro-steps of ``load`` times the first; None: one a pass."""
    cls = method_class(bench.card)
    rules = {"window_px": 500, "accumulate": 6, "max_updates": 4, "validate_every": 2, "lr": 1e-3, "clip": 100.0}
    texts = {name: str(value) for name, value in (rules | {"dropout": 0.3} | changes).items()}
    method = cls(resolve_settings(bench.card, cls, bench.preset, texts))
    budget = None if load is None else PassBudget(load)
    monkeypatch.setattr(method, "_trainer", partial(method._trainer, budget=budget))
    method.fit(*bench.slides(), Context(GENES, seed=3))
    return method


def close(one, other):
    """Whether two fitted methods have the same weights, but for rounding."""
    pairs = zip(one.module_.state_dict().values(), other.module_.state_dict().values(), strict=True)
    return all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in pairs)


@pytest.mark.parametrize("name", METHODS)
def test_the_budget_changes_numbers_by_rounding_alone(benches, name, monkeypatch):
    rules = {"feature_dropout": 0.2}
    alone, some, everything = (trained(benches[name], load, monkeypatch, **rules) for load in (1, 4, 1e9))
    assert close(alone, some)
    assert close(alone, everything)
    assert not close(alone, trained(benches[name], 1, monkeypatch))  # dropout of features alone would be seen


@pytest.mark.parametrize("name", METHODS)
def test_without_dropout_shared_passes_are_those_of_one_at_a_time(benches, name, monkeypatch):
    apart_, shared = (trained(benches[name], load, monkeypatch, dropout=0.0) for load in (None, 4))
    assert close(apart_, shared)


def test_vectors_of_spots_are_those_of_each_slide(benches, tmp_path, monkeypatch):
    generator, bench = np.random.default_rng(0), benches["flag"]
    for slide in bench.slides()[0]:
        n, stem = slide.inputs.n_spots, tmp_path / slide.inputs.slide_id
        np.save(f"{stem}_spot_embeddings.npy", generator.normal(size=(n, 4)).astype(np.float16))
        np.save(f"{stem}_spot_mask.npy", np.arange(n) >= 5)
    rules = {"prior": f"file:{tmp_path}", "align": "spot", "align_weight": 5.0}
    alone, shared = (trained(bench, load, monkeypatch, **rules) for load in (1, 1e9))
    assert close(alone, shared)
    assert not close(alone, trained(bench, 1, monkeypatch, **rules | {"align_weight": 1.0}))


def test_clipping_after_every_micro_step_leaves_each_its_pass(benches, monkeypatch):
    rules = {"clip_rule": "micro", "clip": 0.1}
    apart_, asked = (trained(benches["node-diffusion"], load, monkeypatch, **rules) for load in (None, 1e9))
    for one, other in zip(apart_.module_.parameters(), asked.module_.parameters(), strict=True):
        assert torch.equal(one, other)


class Numbers:
    """y = 2x, micro-steps of one number, on a device that holds so many at a time."""

    epoch_length = 4

    def __init__(self, holds):
        self.holds, self.seen = holds, []

    def micro_batch(self, index):
        return Sized(1, 10)

    def losses_together(self, module, batches, generator):
        self.seen.append(len(batches))
        if len(batches) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        found = [module(torch.randn(4, 1, generator=generator)) for _ in batches]
        return [{"total": one.sub(1).square().mean()} for one in found]

    def losses(self, module, index, generator):
        raise AssertionError("micro-steps share passes here")

    def score(self, module):
        return -abs(float(module.weight))


def run(holds, said=None):
    module, objective, reporter = nn.Linear(1, 1, bias=False), Numbers(holds), Silent()
    reporter.info = (said if said is not None else []).append
    nn.init.ones_(module.weight)
    rules = TrainingSettings(accumulate=8, epochs=100, max_updates=3, lr=0.1)
    Trainer(module, objective, rules, seed=1, reporter=reporter, budget=PassBudget(8)).run()
    return module.weight.detach(), objective.seen


def test_where_memory_runs_out_half_as_many_share_a_pass_with_the_same_numbers():
    said = []
    whole, (halved, seen) = run(8)[0], run(4, said)
    torch.testing.assert_close(halved, whole, rtol=1e-5, atol=1e-6)
    assert seen == [8, 4, 4, 4, 4, 4, 4]
    assert said == [
        "cpu had no memory left in update 0; half as many windows share a pass from now on, which changes numbers by "
        "rounding alone"
    ]


def test_a_single_micro_step_that_does_not_fit_is_kept_by_the_host_then_fails():
    said = []
    with pytest.raises(RunFailedError, match="memory for update 0"):
        run(0, said)
    assert len(said) == 4  # 8, 4 and 2 in a pass, then the host keeps what one leaves
    assert "the host keeps" in said[-1]
