"""Linear maps through oneDNN against torch's own, in double precision."""

import pytest
import torch

from stbench.features import linear as module
from stbench.features.linear import Linear, gelu, gelu_backward_, linear, quicken, weight_gradient

ROWS = 600


def gradients(mapped, leaves):
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(mapped.shape, generator=generator).to(mapped.dtype)
    return torch.autograd.grad((mapped * weights).sum(), leaves)


@pytest.fixture
def asked(monkeypatch):
    """The products that went to oneDNN."""
    found, product = [], module._product
    monkeypatch.setattr(module, "_WINS", True)
    monkeypatch.setattr(module, "_LEAST_WORK", 512 * 8 * 8)
    monkeypatch.setattr(module, "_product", lambda *given: found.append(given) or product(*given))
    return found


@pytest.mark.skipif(not module._IS_HERE, reason="this torch has no oneDNN")
@pytest.mark.parametrize("widths", [(24, 40), (40, 24)])
def test_value_and_gradients_are_those_of_the_plain_map(asked, widths):
    torch.manual_seed(0)
    inputs, outputs = widths
    leaves = [torch.randn(3, ROWS // 3, inputs), torch.randn(outputs, inputs), torch.randn(outputs)]
    single = [leaf.requires_grad_() for leaf in leaves]
    double = [leaf.detach().double().requires_grad_() for leaf in leaves]
    mapped, exact = linear(*single), torch.nn.functional.linear(*double)
    torch.testing.assert_close(mapped.double(), exact, rtol=1e-5, atol=1e-5)
    for found, expected in zip(gradients(mapped, single), gradients(exact, double), strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    assert len(asked) == 3  # the map, and the gradients of input and weight


@pytest.mark.parametrize("change", ["few rows", "double", "autocast", "without oneDNN"])
def test_everything_else_is_left_to_torch(asked, change, monkeypatch):
    if change == "without oneDNN":
        monkeypatch.setattr(module, "_IS_HERE", False)
    layer, x = Linear(8, 8), torch.randn(10 if change == "few rows" else ROWS, 8)
    if change == "double":
        layer, x = layer.double(), x.double()
    with torch.autocast("cpu", enabled=change == "autocast"):
        mapped = layer(x)
        torch.testing.assert_close(mapped, torch.nn.functional.linear(x, layer.weight, layer.bias), rtol=0, atol=0)
        mapped.sum().backward()
    assert not asked


def test_gelu_of_the_map_is_the_same_with_and_without_gradients(asked):
    layer, x = Linear(8, 12), torch.randn(ROWS, 8)
    expected = torch.nn.functional.gelu(layer.double()(x.double()), approximate="tanh")
    layer = layer.float()
    torch.testing.assert_close(layer.gelu(x).double(), expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(layer.gelu(x).double(), expected, rtol=1e-5, atol=1e-5)
    if module._IS_HERE:
        assert ["gelu" in given for given in asked] == [False, True]  # in one go where nothing is learnt


def test_gelu_and_its_gradient_are_those_of_the_tanh_form(monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 100)
    x = torch.linspace(-30, 30, 1001)
    exact = x.double().requires_grad_()
    expected = torch.nn.functional.gelu(exact, approximate="tanh")
    (slope,) = torch.autograd.grad(expected.sum(), exact)
    torch.testing.assert_close(gelu(x).double(), expected, rtol=1e-5, atol=1e-6)
    grad = torch.full_like(x, 2)
    torch.testing.assert_close(gelu_backward_(grad, x).double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grad.double(), 2 * slope, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("vendor", ["GenuineIntel", "AuthenticAMD"])
def test_the_processor_says_who_made_it(vendor, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(f"vendor_id\t: {vendor}\n")
    monkeypatch.setattr(module, "_PROCESSOR", tmp_path / "cpuinfo")
    assert module._intel() is (vendor == "GenuineIntel")


@pytest.mark.parametrize(("inputs", "outputs"), [(5, 9), (9, 5)])
def test_weight_gradient_has_the_shape_of_the_weight(inputs, outputs):
    rows, grad = torch.randn(ROWS, inputs), torch.randn(ROWS, outputs)
    torch.testing.assert_close(weight_gradient(rows, grad), grad.T @ rows, rtol=1e-4, atol=1e-4)


def test_a_quickened_network_keeps_its_parameters_and_other_kinds_of_maps(asked):
    class Own(torch.nn.Linear):
        pass

    network = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), Own(8, 8))
    state, x = network.state_dict(), torch.randn(ROWS, 8)
    expected = network(x)
    assert quicken(network).state_dict().keys() == state.keys()
    torch.testing.assert_close(network(x), expected)
    assert len(asked) == module._IS_HERE
    assert [type(module) for module in network] == [Linear, torch.nn.ReLU, Own]
