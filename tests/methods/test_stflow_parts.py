"""STFlow's neighbourhoods, network, prior and steps, each by itself."""

import weakref

import numpy as np
import pytest
import torch

from stbench.errors import SettingError
from stbench.methods.stflow import network as network_module
from stbench.methods.stflow.flow import between, refine, refinement_times
from stbench.methods.stflow.geometry import GraphRule, build_graph, join
from stbench.methods.stflow.network import StFlowNetwork
from stbench.methods.stflow.prior import ZeroInflatedNegativeBinomial, fitted_prior, fixed_prior
from stbench.methods.stflow.settings import StFlowSettings

PITCH = 200.0
RELEASED = {"ties": "index", "frames": "axes"}


def square(columns=9, rows=8):
    return PITCH * np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2) + 1000


def hexagonal(columns=9, rows=8):
    row, column = np.divmod(np.arange(columns * rows), columns)
    return PITCH * np.stack([column + row % 2 / 2, row * 3**0.5 / 2], axis=1) + 1000


def holes():
    xy = square()
    return xy[np.random.default_rng(5).random(len(xy)) > 0.3]


def scattered(n=40, seed=0):
    return np.random.default_rng(seed).uniform(0, 2000, (n, 2))


def turned(xy, angle=0.7):
    cos, sin = np.cos(angle), np.sin(angle)
    return (xy - 1500) @ np.array([[cos, -sin], [sin, cos]]) + 3000


SMALL = {"hidden_dim": 16, "edge_dim": 12, "layers": 2, "heads": 2}


def network(n_genes=6, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = StFlowNetwork(StFlowSettings(**SMALL | changes), n_genes=n_genes, n_features=5)
        for module in found.modules():
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.normal_(module.weight, std=1.5 * module.in_features**-0.5)
    return found.eval()


def spots(n, seed=0, n_genes=6):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, n_genes, generator=generator), torch.randn(n, 5, generator=generator)


@torch.no_grad()
def predicted(found, xy, rule, seed=0, t=0.3):
    x, features = spots(len(xy), seed)
    return found(x, torch.tensor([t]), features, build_graph(np.float32(xy), rule))


# --- neighbourhoods


@pytest.mark.parametrize("k", [1, 5, 8])
def test_the_neighbours_are_the_nearest_others(k):
    xy = scattered()
    gaps = np.linalg.norm(xy[:, None] - xy, axis=-1)
    np.fill_diagonal(gaps, np.inf)
    graph = build_graph(xy, GraphRule(k, **RELEASED))
    np.testing.assert_array_equal(graph.neighbours, np.argsort(gaps, axis=1)[:, :k])
    np.testing.assert_allclose(graph.distance, np.sort(gaps, axis=1)[:, :k], rtol=1e-6)
    assert bool((graph.weight == 1).all())


def test_ties_by_index_take_the_first_rows_and_shared_ties_take_all():
    xy, inner = hexagonal(), 4 * 9 + 4
    gaps = np.linalg.norm(xy - xy[inner], axis=1).round(3)
    near, second = np.flatnonzero(gaps == PITCH), np.flatnonzero(gaps == round(PITCH * 3**0.5, 3))
    assert (len(near), len(second)) == (6, 6)
    by_index = build_graph(xy.round(6), GraphRule(8, **RELEASED)).neighbours[inner]
    assert set(by_index[:6].tolist()) == set(near)
    assert set(by_index[6:].tolist()) <= set(second)
    shared = build_graph(xy, GraphRule(8))
    assert set(shared.neighbours[inner][shared.weight[inner] > 0.99].tolist()) == {*near, *second}
    assert float(shared.weight[inner].sum()) == pytest.approx(12, abs=0.01)


def test_equal_distances_are_ordered_by_row():
    graph = build_graph(square(), GraphRule(4, **RELEASED))
    for row in range(len(graph)):
        for gap in graph.distance[row].unique():
            tied = graph.neighbours[row][graph.distance[row] == gap]
            assert tied.tolist() == sorted(tied.tolist())


def test_weights_fall_to_zero_over_the_tie_width():
    ring = [(100 * np.cos(a), 100 * np.sin(a)) for a in np.arange(3) * 2.1]
    copies = [(9000 * n + x, y) for n in (1, 2) for x, y in [(0, 0), *ring]]  # they fix the median distance
    for gap in (100, 104, 110, 115, 200):
        xy = np.array([(0, 0), *ring, (0, -gap), *copies])
        graph = build_graph(xy, GraphRule(3, tie_width=0.1))
        weight = dict(zip(graph.neighbours[0].tolist(), graph.weight[0].tolist(), strict=True))
        s = np.clip(1 - (gap - 100) / (0.1 * np.median(graph.distance[:, 2])), 0, 1)
        assert weight.get(4, 0) == pytest.approx(s * s * (3 - 2 * s), abs=1e-5)


@pytest.mark.parametrize("rule", [GraphRule(8), GraphRule(8, **RELEASED)], ids=["shared", "index"])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 9])
def test_a_slide_of_few_spots_has_fewer_neighbours_and_never_itself(n, rule):
    graph = build_graph(scattered(n), rule)
    assert graph.width == min(8, n - 1)
    for row in range(n):
        assert set(graph.neighbours[row].tolist()) == set(range(n)) - {row} or n > 8
        assert row not in graph.neighbours[row]
    assert torch.isfinite(predicted(network(), scattered(n), rule)).all()


@pytest.mark.parametrize("rule", [GraphRule(4), GraphRule(4, **RELEASED)], ids=["shared", "index"])
@pytest.mark.parametrize("n", [3, 5, 60])
def test_coincident_spots_are_neighbours_of_each_other(n, rule):
    together = np.repeat([[500.0, 700.0]], n, axis=0)
    for xy in (together, np.concatenate([together, scattered(7)])):
        graph = build_graph(xy, rule)
        assert not bool(((graph.neighbours == torch.arange(len(xy))[:, None]) & (graph.weight > 0)).any())
        assert not graph.distance[0, : min(4, n - 1)].any()
        assert torch.isfinite(predicted(network(), xy, rule)).all()


GRIDS = {"square": square(), "hexagonal": hexagonal(), "holes": holes(), "scattered": scattered(60)}


@pytest.mark.parametrize("edge_distance", [True, False])
@pytest.mark.parametrize("xy", GRIDS.values(), ids=GRIDS)
def test_a_thousandth_of_a_pixel_a_turn_and_a_mirror_change_nothing(xy, edge_distance):
    found, rule = network(edge_distance=edge_distance), GraphRule(8)
    out = predicted(found, xy, rule)
    close = {"atol": 2e-3 * float(out.std()), "rtol": 0}
    for seed in range(3):
        moved = xy + np.random.default_rng(seed).uniform(-1e-3, 1e-3, xy.shape)
        torch.testing.assert_close(predicted(found, moved, rule), out, **close)
    for other in (turned(xy), xy * [-1, 1], xy + 5000):
        torch.testing.assert_close(predicted(found, other, rule), out, **close)


@pytest.mark.parametrize("grid", ["square", "hexagonal"])
def test_as_released_a_thousandth_of_a_pixel_decides(grid):
    found, rule, xy = network(), GraphRule(8, **RELEASED), GRIDS[grid]
    moved = xy + np.random.default_rng(0).uniform(-1e-3, 1e-3, xy.shape)
    assert float((predicted(found, moved, rule) - predicted(found, xy, rule)).abs().max()) > 0.02


@torch.no_grad()
def test_spots_have_no_order_of_their_own_even_where_they_tie():
    found, xy = network(), np.float32(hexagonal())
    order = np.random.default_rng(3).permutation(len(xy))
    x, features = spots(len(xy))
    t, rows = torch.tensor([0.3]), torch.from_numpy(order)
    moved = found(x[rows], t, features[rows], build_graph(xy[order], GraphRule(8)))
    torch.testing.assert_close(moved, found(x, t, features, build_graph(xy, GraphRule(8)))[rows], atol=1e-4, rtol=1e-4)


def test_round_neighbourhoods_have_no_axes_and_long_ones_have():
    assert float(build_graph(square(3, 3), GraphRule(8)).axes[4]) == pytest.approx(0, abs=1e-6)
    line = np.stack([np.arange(9) * PITCH, np.zeros(9)], axis=1)
    graph = build_graph(line, GraphRule(2, tie_width=0.01))
    assert graph.axes.tolist() == [1] * 9
    torch.testing.assert_close(graph.frame[4, :, 1].abs(), torch.full((2,), PITCH))  # along the major axis
    assert float(graph.frame[4, :, 0].abs().max()) < 1e-4


# --- the network


@pytest.mark.parametrize("rule", [GraphRule(8), GraphRule(8, **RELEASED)], ids=["shared", "index"])
@torch.no_grad()
def test_slides_in_a_batch_do_not_leak_into_each_other(rule):
    found, sizes = network(), (40, 1, 3, 12)
    alone = [(*spots(n, n), np.float32(scattered(n, n))) for n in sizes]
    t = torch.linspace(0.1, 0.9, len(sizes))
    graphs = [build_graph(xy, rule) for _, _, xy in alone]
    batch = join(graphs)
    x, features = (torch.cat([part[k] for part in alone]) for k in (0, 1))
    together = found(x, t, features, batch).split(sizes)
    for number, (states, image, _) in enumerate(alone):
        single = found(states, t[number : number + 1], image, graphs[number])
        torch.testing.assert_close(together[number], single, atol=1e-5, rtol=1e-5)
    features[:40] += 1  # the first slide alone
    changed = found(x, t, features, batch).split(sizes)
    assert bool((changed[0] != together[0]).any())
    assert all(torch.equal(a, b) for a, b in zip(changed[1:], together[1:], strict=True))


@pytest.mark.parametrize("activation", ["swiglu", "gelu", "relu"])
@torch.no_grad()
def test_the_score_of_a_pair_is_the_map_of_its_parts_side_by_side(activation):
    """What is computed spot by spot equals the map of the concatenated pair."""
    found, xy = network(activation=activation), scattered(20)
    graph, (y, _) = build_graph(xy, GraphRule(5, **RELEASED)), spots(20)
    attention = found.blocks[0].attention
    h = torch.randn(20, 16, generator=torch.Generator().manual_seed(1))
    E = attention.edge_states(graph)
    q, k, v = attention.qkv(attention.norm(h)).chunk(3, dim=-1)
    expected = []
    for i in range(20):
        parts = []
        for head in range(2):
            columns, j = slice(8 * head, 8 * head + 8), graph.neighbours[i]
            e = E[i, :, 6 * head : 6 * head + 6]
            a = attention.score(torch.cat([q[i, columns].expand(5, 8), k[j, columns], e, y[j] - y[i]], dim=1))
            a = a.softmax(dim=0)
            parts.append(((a * v[j, columns]).sum(dim=0), (a * e).sum(dim=0)))
        expected.append(torch.cat([part[0] for part in parts] + [part[1] for part in parts]))
    torch.testing.assert_close(attention(h, y, graph), attention.out(torch.stack(expected)), atol=1e-5, rtol=1e-4)


def test_work_in_pieces_and_inner_states_computed_again_change_nothing(monkeypatch):
    found, xy = network(), np.float32(hexagonal())
    (x, features), graph, t = spots(len(xy)), build_graph(xy, GraphRule(8)), torch.tensor([0.3])

    def passed():
        found.zero_grad()
        out = found(x, t, features, graph)
        out.square().mean().backward()
        return out.detach(), [parameter.grad.clone() for parameter in found.parameters()]

    whole = passed()
    monkeypatch.setattr(network_module, "_CHUNK", 7 * graph.width * 32)
    pieces = passed()
    monkeypatch.setattr(network_module, "_KEPT", 7 * graph.width * 32)
    again = passed()
    for other in (pieces, again):
        torch.testing.assert_close(other, whole, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        kept = found(x, t, features, graph, found.edge_states(graph))
    torch.testing.assert_close(kept, whole[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_later_blocks_compare_the_noisy_expression_or_the_previous_estimate():
    xy = scattered(12)
    graph, (x, features), t = build_graph(xy, GraphRule(4)), spots(12), torch.tensor([0.3])
    previous, noisy = network(layer_expression="previous"), network()
    first, second = previous.states(x, t, features, graph)
    assert torch.equal(first.expression, next(noisy.states(x, t, features, graph)).expression)
    for found, y in ((previous, first.expression), (noisy, x)):
        out = list(found.states(x, t, features, graph))[1]
        assert torch.equal(out.attended, found.blocks[1].attention(first.tokens, y, graph))
    assert not torch.equal(second.attended, list(noisy.states(x, t, features, graph))[1].attended)


def test_dropout_of_the_output_is_a_switch():
    xy, (x, features) = scattered(30), spots(30)
    graph = build_graph(xy, GraphRule(4))
    for switch, share in ((True, 0.2), (False, 0.0)):
        found = network(output_dropout=switch).train()
        torch.manual_seed(0)
        out = next(found.states(x, torch.tensor([0.5]), features, graph)).expression
        assert float((out == 0).float().mean()) == pytest.approx(share, abs=0.1)


COUNTS = [  # fact sheet section 7
    (1_147_724, {}, 50),
    (1_301_924, {}, 200),
    (1_348_172, {"activation": "gelu"}, 50),
]


@pytest.mark.parametrize(("expected", "changes", "genes"), COUNTS)
def test_the_network_has_the_parameters_of_the_original(expected, changes, genes):
    with torch.device("meta"):
        found = StFlowNetwork(StFlowSettings(edge_distance=True, **changes), genes, 1024)
    assert sum(parameter.numel() for parameter in found.parameters()) == expected


# --- prior and flow


def test_the_released_prior_has_the_probabilities_of_its_constants():
    prior = fixed_prior(3, 1.0, 0.1, 0.0)
    np.testing.assert_allclose(prior.probability([0, 1, 2, 3])[:, 0], [0.7375, 0.1247, 0.0655, 0.0344], atol=1e-4)
    drawn = np.expm1(prior.sample(40_000, np.random.default_rng(0))).round()
    for count in range(4):
        np.testing.assert_allclose((drawn == count).mean(axis=0), prior.probability([count])[0], atol=0.01)
    np.testing.assert_allclose(drawn.mean(axis=0), 0.5526, atol=0.03)


def test_a_fitted_prior_has_the_mean_spread_and_zeros_of_the_training_slides():
    true = ZeroInflatedNegativeBinomial(np.array([2.0, 5, 1]), np.array([4.0, 30, 1]), np.array([0.0, 0.3, 0.5]))
    seen = true.sample(20_000, np.random.default_rng(1))
    drawn = fitted_prior(seen).sample(20_000, np.random.default_rng(2))
    np.testing.assert_allclose(np.expm1(drawn).mean(axis=0), np.expm1(seen).mean(axis=0), rtol=0.05)
    np.testing.assert_allclose(drawn.mean(axis=0), seen.mean(axis=0), rtol=0.15)
    np.testing.assert_allclose((drawn == 0).mean(axis=0), (seen == 0).mean(axis=0), atol=0.05)


@pytest.mark.parametrize("value", [0.0, 1.5])
def test_a_gene_without_spread_has_a_prior(value):
    drawn = fitted_prior(np.full((50, 2), value, np.float32)).sample(2000, np.random.default_rng(0))
    assert np.isfinite(drawn).all()
    assert np.expm1(drawn).mean() == pytest.approx(np.expm1(value), rel=0.1)


def test_times_are_those_of_the_release():
    np.testing.assert_allclose(refinement_times(4), [0.01, 0.2575, 0.505, 0.7525])
    assert refinement_times(1) == [0.01]


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps_are_refused(steps):
    with pytest.raises(SettingError, match=f"refinement_steps of at least 1, found {steps}"):
        next(refine(lambda x, t: x, torch.zeros(2, 3), steps))


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_a_perfect_denoiser_is_followed_along_a_straight_line(steps):
    start, end = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    taken = list(refine(lambda x, t: end, start, steps))
    assert len(taken) == steps
    for step in taken:  # the line begins at t = 0.01
        t = torch.full((4,), (step.t - 0.01) / 0.99)
        torch.testing.assert_close(step.state, between(start, end, t))
    assert torch.equal(taken[-1].clean, end)


def test_the_network_is_asked_at_each_state_and_time_once():
    asked = []
    refined = list(refine(lambda x, t: asked.append((x, float(t))) or x + 1, torch.zeros(2, 3), 3))
    assert [t for _, t in asked] == pytest.approx([step.t for step in refined])
    assert all(torch.equal(x, step.state) for (x, _), step in zip(asked, refined, strict=True))


def test_no_earlier_state_or_estimate_is_held_while_the_network_is_asked():
    """On half a million spots each takes as much as a draw."""
    made, alive = [], []

    def denoise(x, t):
        alive.append(sum(one() is not None for one in made))
        made.extend([weakref.ref(x), weakref.ref(clean := x + 1)])
        return clean

    for step in refine(denoise, torch.zeros(2, 3), 4):
        del step
    assert alive == [0, 0, 0, 0]
