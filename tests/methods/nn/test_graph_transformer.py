"""The transformer over the spots of a window; its numbers are compared in tests/evaluation/test_parity.py."""

from dataclasses import replace

import pytest
import torch

from stbench.methods.nn import graph_transformer as module
from stbench.methods.nn.graph_transformer import GraphSizes, GraphTransformer

SIZES = GraphSizes(n_genes=5, node_condition=4, hidden=12, layers=2, heads=3)
SWITCHES = [
    {},
    {"adaptive_norm": False},
    {"edge_condition": 0},
    {"channel_attention": True, "edge_stream": True},
    {"channel_attention": True, "edge_stream": True, "edge_condition": 0, "adaptive_norm": False},
    {"edge_stream": True},
]


def new(**switches):
    sizes = replace(SIZES, **switches)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = GraphTransformer(sizes)
        for parameter in transformer.parameters():  # zeros at the start would hide what they multiply
            torch.nn.init.normal_(parameter, std=0.3)
    return transformer.eval()


def window(n=7, seed=1):
    generator = torch.Generator().manual_seed(seed)
    edges = torch.rand(1, n, n, 2, generator=generator)
    return {
        "x": torch.randn(1, n, 5, generator=generator),
        "e": None,
        "t": torch.randn(1, 12, generator=generator),
        "node_condition": torch.randn(1, n, 4, generator=generator),
        "edge_condition": edges + edges.transpose(1, 2),
        "mask": torch.ones(1, n, dtype=torch.bool),
    }


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@torch.no_grad()
def test_a_batch_of_padded_windows_equals_single_runs(switches):
    transformer, parts = new(**switches), [window(7, 1), window(3, 2), window(1, 3)]
    mask = torch.zeros(3, 7, dtype=torch.bool)
    filled = {name: torch.full((3, *parts[0][name].shape[1:]), 9.0) for name in ("x", "t", "node_condition")}
    edges = torch.full((3, 7, 7, 2), 9.0)  # padding holds rubbish: nothing of it may get through
    for row, part in enumerate(parts):
        n = part["mask"].shape[1]
        mask[row, :n] = True
        for name in ("x", "node_condition"):
            filled[name][row, :n] = part[name][0]
        filled["t"][row] = part["t"][0]
        edges[row, :n, :n] = part["edge_condition"][0]
    nodes, pairs = transformer(**filled, e=None, edge_condition=edges, mask=mask)
    assert not nodes[~mask].any()
    for row, part in enumerate(parts):
        n = part["mask"].shape[1]
        alone_nodes, alone_pairs = transformer(**part)
        torch.testing.assert_close(nodes[row, :n], alone_nodes[0], atol=1e-5, rtol=1e-5)
        if pairs is not None:
            torch.testing.assert_close(pairs[row, :n, :n], alone_pairs[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@torch.no_grad()
def test_spots_have_no_order_of_their_own(switches):
    transformer, given = new(**switches), window()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(4))
    moved = given | {name: given[name][:, order] for name in ("x", "node_condition")}
    moved["edge_condition"] = given["edge_condition"][:, order][:, :, order]
    torch.testing.assert_close(transformer(**moved)[0], transformer(**given)[0][:, order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@torch.no_grad()
def test_time_and_edge_condition_act_where_they_are_switched_on(switches):
    transformer, given = new(**switches), window()
    out = transformer(**given)[0]

    def reaches(name):
        return float((transformer(**given | {name: given[name] + 0.5})[0] - out).abs().max()) > 1e-5

    assert reaches("t") is switches.get("adaptive_norm", True)
    assert reaches("edge_condition") is (switches.get("edge_condition", 2) > 0)
    assert reaches("node_condition")


@torch.no_grad()
def test_scalar_scores_equal_the_sum_of_eq_26():
    block, given = new().blocks[0], window(4)
    h = torch.randn(1, 4, 12, generator=torch.Generator().manual_seed(5))
    c, e = given["node_condition"], given["edge_condition"]
    found = block.scores(h, None, c, e)
    q, k = block.query(h)[0], block.key(h)[0]
    gate_q, gate_k = block.node.gate_query(c)[0], block.node.gate_key(c)[0]
    for i in range(4):
        for j in range(4):
            for head in range(3):
                part = slice(4 * head, 4 * head + 4)
                gate = 1 + block.alpha * block.edge.gate(e[0, i, j])[head]
                gate += block.beta * (gate_q[i, part] * gate_k[j, part]).mean()
                bias = block.gamma * block.edge.bias(e[0, i, j])[head]
                bias += block.delta * (block.node.bias_query(c[0, i])[head] + block.node.bias_key(c[0, j])[head])
                expected = (q[i, part] * k[j, part]).sum() / 2 * gate + bias
                assert float(found[0, i, j, head]) == pytest.approx(float(expected), abs=1e-5)


@torch.no_grad()
def test_edge_output_is_symmetric_with_a_zero_diagonal():
    edges = new(channel_attention=True, edge_stream=True)(**window())[1]
    torch.testing.assert_close(edges, edges.transpose(1, 2))
    assert not edges[0].diagonal().any()
    assert edges.abs().max() > 0.01
    assert new()(**window())[1] is None


def test_adaptive_norms_start_as_plain_ones():
    given = window()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformer = GraphTransformer(SIZES).eval()
    with torch.no_grad():
        moved = transformer(**given | {"t": given["t"] + 1})[0]
        torch.testing.assert_close(moved, transformer(**given)[0])


@pytest.mark.parametrize("switches", [{"edge_stream": True}, {"edge_stream": True, "adaptive_norm": False}])
def test_edge_states_in_pieces_give_what_they_give_at_once(switches, monkeypatch):
    transformer, inputs = new(**switches), window()
    whole = transformer(**inputs)
    with torch.no_grad():
        monkeypatch.setattr(module, "_CACHED", 1)
        pieces = transformer(**inputs)
    for found, expected in zip(pieces, whole, strict=True):
        torch.testing.assert_close(found, expected)
