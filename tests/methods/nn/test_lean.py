"""Parts that keep little for the backward pass equal the plain composition, gradients included."""

import pytest
import torch
from torch import nn

from stbench.methods.nn.lean import (
    GatedFeedForward,
    LeanDropout,
    Norm,
    PackedDropout,
    gelu_dropped_linear,
    kept_entries,
)

SHAPES = [(3, 5, 12), (2, 4, 4, 12)]


def same_entries(x, p, training):
    keep = kept_entries(x, p, training=training)
    return x if keep is None else x * keep / (1 - p)


def plain_feed(feed, h, dropout=same_entries):
    value, gate = feed.value_gate(feed.norm(h)).chunk(2, dim=-1)
    return feed.out(dropout(value * nn.functional.gelu(gate), feed.dropout, feed.training))


def plain_norm(norm, h, z):
    scale, shift = norm.scale_shift(nn.functional.silu(z)).chunk(2, dim=-1)
    shape = (len(h), *[1] * (h.dim() - 2), -1)
    return (1 + scale.reshape(shape)) * nn.functional.layer_norm(h, h.shape[-1:]) + shift.reshape(shape)


def outcome(module, result, *inputs):
    """Value, and gradients of inputs and parameters."""
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(3))
    wanted = [*inputs, *module.parameters()]
    found = torch.autograd.grad((result * weights).sum(), wanted)
    return [result.detach(), *found]


def given(shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), requires_grad=True)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_feed_forward_is_the_plain_one(shape, training):
    torch.manual_seed(0)
    feed, h = GatedFeedForward(12, 0.3).train(training), given(shape)
    torch.manual_seed(7)
    found = outcome(feed, feed(h), h)
    torch.manual_seed(7)
    for ours, expected in zip(found, outcome(feed, plain_feed(feed, h), h), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_adaptive_norm_is_the_plain_one(shape):
    norm, h = Norm(12, adaptive=True), given(shape)
    nn.init.normal_(norm.scale_shift.weight)
    nn.init.normal_(norm.scale_shift.bias)
    z = given((shape[0], 12))
    found, expected = outcome(norm, norm(h, z), h, z), outcome(norm, plain_norm(norm, h, z), h, z)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_projection_is_a_linear_map_of_the_norm(shape, adaptive):
    norm, h, z, weight = Norm(12, adaptive=adaptive), given(shape), given((shape[0], 12)), given((3, 12))
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    inputs = [h, weight, z] if adaptive else [h, weight]
    found = outcome(norm, norm.project(h, z, weight), *inputs)
    expected = outcome(norm, nn.functional.linear(norm(h, z), weight), *inputs)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_independent_entries_at_its_rate(p):
    h = torch.ones(1000, 999, requires_grad=True)
    torch.manual_seed(7)
    lean = LeanDropout(p)
    dropped = lean(h)
    (gradient,) = torch.autograd.grad(dropped.sum(), h)
    kept = (dropped != 0).flatten().double()
    assert torch.equal(gradient, dropped)
    torch.testing.assert_close(dropped[dropped != 0].unique(), torch.tensor([1 / (1 - p)]))
    within = 5 * (p * (1 - p) / len(kept)) ** 0.5
    assert abs(float(kept.mean()) - (1 - p)) < within
    for lag in (1, 2, 3, 4, 999):
        both = (kept[lag:] * kept[:-lag]).mean() - (1 - p) ** 2
        assert abs(float(both)) < 5 * 2 * within
    assert lean.eval()(h) is h


def test_gradients_survive_autocast():
    torch.manual_seed(0)
    feed, norm, h, z = GatedFeedForward(12, 0.0), Norm(12, adaptive=True), given((2, 4, 4, 12)), given((2, 12))
    nn.init.normal_(norm.scale_shift.weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = torch.autograd.grad(feed(norm(h, z)).float().sum(), [h, z, *feed.parameters()])
    exact = torch.autograd.grad(feed(norm(h, z)).sum(), [h, z, *feed.parameters()])
    for ours, expected in zip(rounded, exact, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, expected, rtol=0.1, atol=0.1 * float(expected.abs().max()))


def test_less_is_kept_than_by_the_plain_composition():
    feed, h = GatedFeedForward(64, 0.1).train(), given((1, 20, 20, 64))

    def kept(run):
        held = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: held.setdefault(tensor.untyped_storage().data_ptr(), tensor).detach(), lambda tensor: tensor
        ):
            result = run()
        return result, sum(tensor.untyped_storage().nbytes() for tensor in held.values())

    _, lean = kept(lambda: feed(h))
    _, plain = kept(lambda: plain_feed(feed, h, nn.functional.dropout))
    assert lean < 0.65 * plain


@pytest.mark.parametrize("training", [True, False])
def test_packed_dropout_is_torchs_own_to_the_last_bit(training):
    x, layer, ours = given((3, 5, 12)), nn.Linear(12, 4), PackedDropout(0.3).train(training)
    plain = nn.Dropout(0.3).train(training)
    for packed, expected in (
        (ours, plain),
        (lambda h: gelu_dropped_linear(h, ours, layer), lambda h: layer(plain(nn.functional.gelu(h)))),
    ):
        torch.manual_seed(7)
        found = outcome(nn.Identity(), packed(x), x)
        torch.manual_seed(7)
        for one, other in zip(found, outcome(nn.Identity(), expected(x), x), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_map_after_packed_dropout_learns_as_the_plain_one():
    x, layer, dropout = given((3, 5, 12)), nn.Linear(12, 4), PackedDropout(0.3)
    torch.manual_seed(7)
    found = outcome(layer, gelu_dropped_linear(x, dropout, layer), x)
    torch.manual_seed(7)
    for one, other in zip(found, outcome(layer, layer(dropout(nn.functional.gelu(x))), x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
