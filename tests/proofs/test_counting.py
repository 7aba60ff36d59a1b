"""What a step asks of a device, counted: no wait, no more kernels than now, the multiplications that sizes say."""

import numpy as np
import pytest
import torch
from torch._dynamo import explain
from torch._dynamo import reset as forget

from stbench.methods.base import Context, LabelledSlide, SlideInputs
from stbench.methods.nn.lean import GatedFeedForward, LeanDropout, kept_entries
from stbench.methods.registry import find_method, method_class, resolve_settings
from stbench.methods.stflow.gated import GatedMap
from stbench.proofs.counting import (
    DEVICE,
    Counts,
    _counted,
    _without_values,
    graph_breaks,
    sampling_pass,
    training_step,
)
from stbench.training.together import PassBudget

S, G, D = 36, 12, 40  # spots, genes, features
KERNELS = {  # of a training step at preset small: may fall, not grow
    "flag": 1217,
    "joint-diffusion": 2028,
    "node-diffusion": 1309,
    "stem": 640,
    "stflow": 451,
    "triplex": 652,
    "bleep": 116,
    "histogene": 240,
}
PASSES = {"passes": 2}, {"passes": 3}
STEPS = {"steps": "2"}, {"steps": "3"}
SAMPLERS = {
    "flag": PASSES,
    "joint-diffusion": PASSES,
    "node-diffusion": PASSES,
    "stem": STEPS,
    "stflow": ({"refinement_steps": 2}, {"refinement_steps": 3}),
}


@pytest.fixture(scope="module")
def slides():
    rng = np.random.default_rng(0)
    array = np.stack(np.divmod(np.arange(S), 6), axis=1).astype(np.float32)
    inputs = SlideInputs("S", "P", rng.normal(size=(S, D)).astype(np.float32), array * 100, array, 0.5)
    return [LabelledSlide(inputs, np.log1p(rng.poisson(5, (S, G))).astype(np.float32))]


def new(name, preset="small", **changes):
    card = find_method(name)
    cls = method_class(card)
    features = {"input": "features"} if "input" in cls.Settings.model_fields else {}
    return cls(resolve_settings(card, cls, preset, features | changes))


@pytest.mark.parametrize("name", ["flag", "joint-diffusion", "node-diffusion"])
def test_micro_steps_that_share_a_pass_ask_a_device_for_less(name, slides):
    rules = {"accumulate": "6", "window_px": "300"}
    alone, shared = (training_step(new(name, **rules), slides, G, PassBudget(load)) for load in (1, 1e9))
    assert shared.n_kernels < alone.n_kernels / 2
    assert shared.n_waits == alone.n_waits == 0


@pytest.mark.parametrize("name", KERNELS)
def test_a_training_step_waits_for_nothing_and_grows_in_no_kernel(name, slides):
    found = training_step(new(name), slides, G)
    assert not found.waits
    assert 0.5 * KERNELS[name] < found.n_kernels <= KERNELS[name]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampling_pass_waits_for_nothing(name, slides):
    found = sampling_pass(new(name, "test"), slides, G, *SAMPLERS[name])
    assert not found.waits
    assert found.n_kernels


def linear_maps(*sizes):
    return sum(2 * inputs * outputs for inputs, outputs in sizes)


def gene_transformer(rules, outputs):
    """Multiplications and additions of one spot."""
    width, inner = rules.hidden_dim, int(rules.hidden_dim * rules.mlp_ratio)
    token = linear_maps((width, 3 * width), (width, width), (width, inner), (inner, width))
    block = G * token + 4 * G**2 * width + linear_maps((width, 6 * width))
    ends = G * linear_maps((1, width), (width, width), (width, outputs)) + linear_maps((width, 2 * width))
    return rules.dit_layers * block + ends


def graph_transformer(rules):
    """The same of one spot of a window of S."""
    width, heads = rules.hidden_dim, rules.graph_heads
    conditions = linear_maps(*4 * [(D, width)], *2 * [(D, heads)], (D, width))
    attention = linear_maps(*4 * [(width, width)]) + 3 * 2 * S * width + S * linear_maps(*2 * [(2, heads)])
    feed = linear_maps((width, 8 * width // 2), (2 * width, width))
    return linear_maps((G, width), (width, width), (width, G)) + rules.graph_layers * (conditions + attention + feed)


def test_multiplications_of_stem_are_those_of_its_sizes(slides):
    method = new("stem")
    width = method.settings.hidden_dim
    expected = S * (gene_transformer(method.settings, 2) + linear_maps((256, width), (width, width)))
    assert sampling_pass(method, slides, G, *STEPS).flops == expected


def test_multiplications_of_flag_are_those_of_its_sizes(slides):
    method = new("flag")
    rules = method.settings
    condition = linear_maps((G, rules.gene_dim), (rules.gene_dim, rules.hidden_dim))
    expected = S * (gene_transformer(rules, 1) + condition + graph_transformer(rules))
    assert sampling_pass(method, slides, G, *PASSES).flops == pytest.approx(
        expected, rel=0.005
    )  # the rest is per window


def asked(job):
    with _without_values() as watch:
        return _counted(watch, job)


@pytest.mark.parametrize(
    "job",
    [
        lambda x, there: float(x.sum()),
        lambda x, there: bool(there.any()),
        lambda x, there: x[there],
        lambda x, there: there.nonzero(),
        lambda x, there: x.masked_select(there),
        lambda x, there: x.cpu(),
        lambda x, there: x.to("cpu", non_blocking=True),
        lambda x, there: torch.ones(3).to(DEVICE),
        lambda x, there: x.copy_(torch.ones(4)),
    ],
)
def test_what_waits_is_seen(job):
    x, there = torch.ones(4, device=DEVICE), torch.ones(4, dtype=torch.bool, device=DEVICE)
    assert asked(lambda: job(x, there)).n_waits == 1


@pytest.mark.parametrize(
    "job",
    [
        lambda x: x[torch.zeros(2, dtype=torch.int64, device=DEVICE)],
        lambda x: torch.ones(3).to(DEVICE, non_blocking=True),
        lambda x: torch.where(x > 0, x, 0),
        lambda x: float(torch.ones(3).sum()),  # of the host alone
    ],
)
def test_what_does_not_wait_is_not_taken_for_it(job):
    assert not asked(lambda: job(torch.ones(4, device=DEVICE))).waits


def test_views_and_work_of_the_host_are_no_kernels():
    x = torch.ones(4, device=DEVICE)
    assert asked(lambda: (x.view(2, 2).T, torch.ones(3) + 1, x.detach())).n_kernels == 0
    assert asked(lambda: (x + 1) * 2).kernels == {"add": 1, "mul": 1}
    assert asked(lambda: x.view(2, 2) @ x.view(2, 2)).flops == 16


def test_a_difference_of_counts_leaves_what_is_more():
    assert Counts(flops=5).less(Counts(flops=2)) == Counts(flops=3)


def test_dropout_draws_the_bits_of_whole_words():
    like = torch.empty(1001)
    torch.manual_seed(3)
    words = torch.empty(251, dtype=torch.int64).random_(-(2**63), None)
    torch.manual_seed(3)
    kept = kept_entries(like, 0.3, training=True)
    assert torch.equal(kept, words.view(torch.int16)[:1001] >= round(0.3 * 2**16) - 2**15)


@pytest.mark.parametrize("part", [LeanDropout(0.3), GatedFeedForward(8, 0.2), GatedMap(8, 16, 8, "swiglu", 0.2)])
@pytest.mark.filterwarnings("ignore")
def test_parts_with_dropout_are_one_graph(part):
    forget()
    assert explain(part.train())(torch.ones(7, 8, requires_grad=True)).graph_break_count == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.filterwarnings("ignore")
def test_a_network_is_one_graph(name, slides):
    assert graph_breaks(new(name), slides, Context(tuple(map(str, range(G))))) == 0
