"""The joint state of nodes and edges, and the losses on it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stbench.methods.graph_diffusion import JointDiffusion
from stbench.methods.graph_diffusion.losses import joint_errors, joint_terms, pair_mean
from stbench.methods.graph_diffusion.network import GraphNetwork
from stbench.methods.graph_diffusion.settings import JointSettings
from stbench.methods.graph_diffusion.state import averaged, mirrored, pack, unpack
from stbench.methods.nn.correlation import spot_correlation
from stbench.methods.nn.diffusion import parameterization
from stbench.methods.nn.samplers import sample
from stbench.methods.nn.windows import WindowBatch


def new(**changes):
    return JointDiffusion(JointSettings(hidden_dim=16, graph_layers=2, graph_heads=2, **changes))


def window(n, seed, n_genes=6):
    generator = torch.Generator().manual_seed(seed)
    edges = torch.rand(1, n, n, 2, generator=generator)
    features = torch.randn(1, n, 5, generator=generator)
    expression = torch.rand(1, n, n_genes, generator=generator) * 4
    mask = torch.ones(1, n, dtype=torch.bool)
    return WindowBatch(features, edges + edges.transpose(1, 2), mask, expression, (np.arange(n),), "S")


def padded(parts):
    """Windows as one batch; padding holds rubbish, nothing of which may get through."""
    size = max(part.mask.shape[1] for part in parts)
    filled = {"features": (size, 5), "edges": (size, size, 2), "expression": (size, 6)}
    tensors = {name: torch.full((len(parts), *shape), 9.0) for name, shape in filled.items()}
    mask = torch.zeros(len(parts), size, dtype=torch.bool)
    for row, part in enumerate(parts):
        n = part.mask.shape[1]
        mask[row, :n] = True
        tensors["features"][row, :n], tensors["expression"][row, :n] = part.features[0], part.expression[0]
        tensors["edges"][row, :n, :n] = part.edges[0]
    return WindowBatch(**tensors, mask=mask, spots=tuple(part.spots[0] for part in parts), slide_id="S")


def filled_network(settings, seed=0):
    """A network without the zeros of a new one, which would hide what they multiply."""
    network, generator = GraphNetwork(settings, 6, 5).eval(), torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return network


def terms_of(batch, sigma, noise, kind="edm", attention="scalar"):
    joint = new(attention=attention)
    clean = pack(batch.expression, spot_correlation(batch.expression, batch.mask))
    network = joint.bind(filled_network(joint.settings), batch)
    p = parameterization(kind, 0.01, 10)
    errors = joint_errors(network, p, clean, sigma, noise, lambda x: spot_correlation(x, batch.mask))
    return joint_terms(errors, batch.mask)


@pytest.mark.parametrize("attention", ["scalar", "channel"])
@pytest.mark.parametrize("kind", ["raw", "epsilon", "edm", "flow"])
def test_losses_of_a_padded_batch_are_those_of_the_windows(kind, attention):
    parts, sigma = [window(7, 1), window(3, 2), window(1, 3)], torch.tensor([0.3, 1.0, 4.0])
    noise = torch.randn(3, 7, 6 + 7, generator=torch.Generator().manual_seed(5))
    together = terms_of(padded(parts), sigma, noise, kind, attention)
    sums, spots, pairs = dict.fromkeys(("score", "edge", "consistency"), 0.0), 0, 0
    for row, part in enumerate(parts):
        n = part.mask.shape[1]
        own = pack(noise[row : row + 1, :n, :6], noise[row : row + 1, :n, 6 : 6 + n])
        alone = terms_of(part, sigma[row : row + 1], own, kind, attention)
        spots, pairs = spots + n, pairs + n * (n - 1)
        for name, value in alone.items():
            sums[name] += float(value.detach()) * (n if name == "score" else n * (n - 1))
    for name, value in together.items():
        assert float(value.detach()) == pytest.approx(sums[name] / (spots if name == "score" else pairs), rel=1e-4)


@pytest.mark.parametrize("attention", ["scalar", "channel"])
def test_losses_do_not_depend_on_the_order_of_the_spots(attention):
    batch, order = window(7, 1), torch.randperm(7, generator=torch.Generator().manual_seed(4))
    moved = replace(
        batch,
        features=batch.features[:, order],
        edges=batch.edges[:, order][:, :, order],
        expression=batch.expression[:, order],
    )
    noise = torch.randn(1, 7, 13, generator=torch.Generator().manual_seed(5))
    x, e = unpack(noise)
    sigma = torch.tensor([0.7])
    expected = terms_of(batch, sigma, noise, attention=attention)
    found = terms_of(moved, sigma, pack(x[:, order], e[:, order][:, :, order]), attention=attention)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "solver"),
    [
        ("raw", "heun"),
        ("edm", "heun"),
        ("edm", "dpmpp-2m"),
        ("edm", "edm-heun"),
        ("epsilon", "euler"),
        ("flow", "midpoint"),
    ],
)
@torch.no_grad()
def test_edges_stay_symmetric_in_every_solver(kind, solver):
    batch, joint = window(6, 2), new()
    z = pack(torch.randn(1, 6, 6), mirrored(torch.randn(1, 6, 6)))
    network = joint.bind(filled_network(joint.settings), batch)
    p = parameterization(kind, 0.01, 10)
    _, edges = unpack(sample(network, z, p, solver=solver, passes=9, centre=torch.zeros(12)))
    assert bool(edges.any())
    assert torch.equal(edges, edges.transpose(1, 2))
    assert not edges.diagonal(dim1=1, dim2=2).any()


def test_packing_keeps_nodes_and_edges_apart():
    x, e = torch.rand(2, 5, 3), torch.rand(2, 5, 5)
    for found, expected in zip(unpack(pack(x, e)), (x, e), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize(("rule", "std"), [("symmetric", 10.0), ("as-released", 7.07)])
def test_the_prior_of_the_edges_is_that_of_training_or_as_released(rule, std):
    joint, n = new(edge_noise=rule), 150
    batch = WindowBatch(
        torch.zeros(1, n, 5), torch.zeros(1, n, n, 2), torch.ones(1, n).bool(), None, (np.arange(n),), "S"
    )
    _, edges = unpack(joint._start(batch, torch.zeros(1, n, 6), 0, [0]))
    off = ~torch.eye(n, dtype=torch.bool)
    assert float(10 * edges[0][off].std()) == pytest.approx(std, rel=0.02)
    assert torch.equal(edges, edges.transpose(1, 2))
    assert not edges.diagonal(dim1=1, dim2=2).any()


def test_mirrored_and_averaged_noise():
    z = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    assert mirrored(z).tolist() == [[0, 2, 3], [2, 0, 6], [3, 6, 0]]
    assert averaged(z).tolist() == [[0, 3, 5], [3, 0, 7], [5, 7, 0]]


def test_the_mean_over_pairs_leaves_out_diagonal_and_padding():
    values = torch.tensor([[[9.0, 1, 9], [2, 9, 9], [9, 9, 9]]])
    assert float(pair_mean(values, torch.tensor([[True, True, False]]))) == 1.5
    assert float(pair_mean(values, torch.tensor([[True, False, False]]))) == 0
