"""Joint and node-only diffusion on a task of seconds; their numbers are compared in tests/evaluation/test_parity.py."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stbench.errors import DataError, RunFailedError, SettingError
from stbench.methods.base import Context, LabelledSlide
from stbench.methods.graph_diffusion import JointDiffusion, NodeDiffusion, method
from stbench.methods.graph_diffusion.losses import joint_errors
from stbench.methods.graph_diffusion.network import GraphNetwork
from stbench.methods.graph_diffusion.settings import JointSettings, NodeSettings
from stbench.methods.graph_diffusion.state import unpack
from stbench.methods.nn.correlation import spot_correlation
from stbench.methods.registry import find_method, resolve_settings
from stbench.training.scores import mean_gene_correlation

CARDS = {"joint": find_method("joint-diffusion"), "node": find_method("node-diffusion")}
ORACLE = find_method("joint-diffusion-oracle")
CLASSES = {"joint": JointDiffusion, "node": NodeDiffusion}
GENES = ("A", "B", "C", "D", "E", "F")
TINY = {"hidden_dim": 16, "graph_layers": 2, "graph_heads": 2, "max_updates": 4, "validate_every": 2, "accumulate": 2}
SHORT = {"passes": 3, "validation_passes": 3}
EDM = {"parameterization": "edm", "solver": "dpmpp-2m"}
FLOW = {"parameterization": "flow", "solver": "midpoint", "passes": 4, "validation_passes": 4}


def new(kind, preset="paper", **changes):
    values = {**CARDS[kind].presets[preset], **TINY, **SHORT, **changes}
    return CLASSES[kind](CLASSES[kind].Settings.model_validate(values))


def fitted(kind, cohort, preset="paper", seed=0, **changes):
    found = new(kind, preset, **changes)
    found.fit(cohort[0], cohort[1], Context(GENES, seed=seed))
    return found


def objective(kind, cohort, **changes):
    found = new(kind, **changes)
    trainer = found._trainer(cohort[0], cohort[1], Context(GENES))
    return found, trainer.objective


def losses(kind, cohort, **changes):
    found, goal = objective(kind, cohort, **changes)
    return found.module_, goal.losses(found.module_.train(), 0, torch.Generator().manual_seed(0))


VARIANTS = {
    "paper": {},
    "official": {"preset": "official"},
    "edm": EDM,
    "flow": FLOW,
    "no edge condition": {"edge_channels": "none"},
    "no adaptive norm": {"adaptive_norm": False},
    "random windows": {"window_sampling": "random", "batch_windows": 3},
    "per channel": {"attention": "channel"},
    "bfloat16": {"precision": "bf16", **EDM},
}
OWN = {
    ("joint", "released target"): {"correlation": "official"},
    ("joint", "released noise"): {"edge_noise": "as-released"},
    ("joint", "gradient"): {"correlation_gradient": True, **EDM},
    ("node", "edge stream"): {"edge_stream": True},
}
CASES = {(kind, name): changes for name, changes in VARIANTS.items() for kind in CLASSES} | OWN


@pytest.mark.parametrize(("case", "changes"), CASES.items(), ids=[f"{kind} {name}" for kind, name in CASES])
def test_every_variant_fits_and_predicts_repeats_saves_and_loads(case, changes, cohort, tmp_path):
    kind = case[0]
    found = fitted(kind, cohort, **changes)
    predicted = found.predict(cohort[2], 2, 7)
    assert predicted.shape == (2, 30, 6)
    assert predicted.dtype == np.float32
    assert np.isfinite(predicted).all()
    assert (predicted >= 0).all()
    np.testing.assert_array_equal(fitted(kind, cohort, **changes).predict(cohort[2], 2, 7), predicted)
    found.save(tmp_path / "weights.safetensors")
    loaded = CLASSES[kind].load(tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(loaded.predict(cohort[2], 2, 7), predicted)
    mean = found.predict_mean(cohort[2], 7)
    assert (mean is not None) is (found.settings.parameterization in ("edm", "flow"))
    assert mean is None or (mean.shape == (30, 6) and np.isfinite(mean).all())


@pytest.mark.parametrize("kind", CLASSES)
def test_it_learns(kind, cohort):
    short = {"max_updates": 80, "validate_every": 40, "accumulate": 1, "window_px": 5000, "window_sampling": "random"}
    found = fitted(kind, cohort, **{**EDM, **short, "window_spots": 20, "passes": 8}, lr=1e-2, ema=0.95, dropout=0)
    (slide,) = cohort[1]
    predicted = found.predict(slide.inputs, 4, 0).mean(axis=0)
    assert mean_gene_correlation(slide.expression, predicted) > 0.6
    assert abs(predicted.mean() - slide.expression.mean()) < 0.5


@pytest.mark.parametrize("kind", CLASSES)
def test_a_draw_depends_neither_on_their_number_nor_on_the_batch(kind, cohort, monkeypatch):
    found = fitted(kind, cohort, **EDM, window_px=1000)
    many, few = found.predict(cohort[2], 4, 0), found.predict(cohort[2], 2, 0)
    np.testing.assert_array_equal(many[:2], few)
    assert not np.array_equal(many[0], many[1])
    monkeypatch.setattr(method, "_SPOTS_PER_BATCH", 1)  # every window on its own
    np.testing.assert_allclose(found.predict(cohort[2], 2, 0), few, atol=1e-4)


def test_another_seed_gives_another_result(cohort):
    first, second = (fitted("joint", cohort, seed=seed, **EDM).predict(cohort[2], 1, 0) for seed in (0, 1))
    assert not np.array_equal(first, second)


# --- losses on a task


@pytest.mark.parametrize("changes", [{}, EDM, FLOW], ids=str)
def test_clean_edges_are_the_correlation_on_the_scale_of_the_task(cohort, changes, monkeypatch):
    seen = {}

    def watched(network, p, clean, sigma, z, implied):
        seen.update(clean=clean, implied=implied)
        return joint_errors(network, p, clean, sigma, z, implied)

    monkeypatch.setattr(method, "joint_errors", watched)
    _, goal = objective("joint", cohort, **changes)
    goal.losses(goal.method.module_, 0, torch.Generator().manual_seed(0))
    nodes, edges = unpack(seen["clean"])
    batch = goal.windows[0]
    n = int(batch.mask[0].sum())
    expected = np.corrcoef(batch.expression[0, :n].double().numpy()) - np.eye(n)
    np.testing.assert_allclose(edges[0, :n, :n], expected, atol=1e-5)
    torch.testing.assert_close(seen["implied"](nodes), edges, atol=1e-4, rtol=0)
    assert not nodes[~batch.mask].any()


def test_the_total_is_the_weighted_sum(cohort):
    _, terms = losses("joint", cohort, edge_weight=0.5, consistency_weight=0.25)
    torch.testing.assert_close(terms["total"], terms["score"] + 0.5 * terms["edge"] + 0.25 * terms["consistency"])
    assert set(losses("node", cohort)[1]) == {"total", "score"}


def test_noise_in_training_is_symmetric_or_as_released(cohort):
    for rule, expected in (("symmetric", True), ("as-released", False)):
        _, goal = objective("joint", cohort, edge_noise=rule)
        z = goal._edge_noise(torch.randn(1, 150, 150, generator=torch.Generator().manual_seed(0)))
        assert torch.equal(z, z.transpose(1, 2)) is expected
        assert float(z[0][~torch.eye(150, dtype=torch.bool)].std()) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("flows", [False, True])
def test_consistency_trains_the_node_score_if_the_gradient_flows(cohort, flows):
    module, terms = losses("joint", cohort, correlation_gradient=flows, **EDM)
    terms["consistency"].backward()
    head = module.graph.nodes_out[1].weight.grad
    assert bool(head is not None and head.any()) is flows
    assert bool(module.graph.edges_out[1].weight.grad.any())


def test_windows_of_one_spot_and_constant_expression_give_finite_losses(cohort):
    slide = cohort[0][0]
    alone = [LabelledSlide(replace(slide.inputs, xy=slide.inputs.xy * 1000), slide.expression)]
    module, terms = losses("joint", (alone, *cohort[1:]), correlation_gradient=True, **EDM)
    assert (float(terms["edge"].detach()), float(terms["consistency"].detach())) == (0, 0)
    terms["total"].backward()
    constant = [LabelledSlide(slide.inputs, np.full_like(slide.expression, 0.7))]
    other, terms = losses("joint", (constant, *cohort[1:]), correlation_gradient=True, **EDM)
    terms["total"].backward()
    for network in (module, other):
        assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in network.parameters())


def test_values_that_are_not_finite_stop_the_run_and_name_every_term(cohort):
    slide = cohort[0][0]
    broken = LabelledSlide(slide.inputs, np.where(np.arange(6) == 2, np.nan, slide.expression).astype(np.float32))
    with pytest.raises(RunFailedError, match=r"update 0 \(total nan, score nan, edge nan, consistency nan\)"):
        fitted("joint", ([broken], *cohort[1:]))


@pytest.mark.parametrize("n_genes", [1, 2])
def test_panels_without_a_correlation_are_refused(cohort, n_genes):
    context = Context(GENES[:n_genes])
    reason = new("joint").refuse(cohort[0], [cohort[2]], context)
    assert f"over {n_genes} genes is undefined or trivial" in reason
    assert new("node").refuse(cohort[0], [cohort[2]], context) is None
    assert new("joint").refuse(cohort[0], [cohort[2]], Context(GENES)) is None


# --- the oracle


def shown(slide):
    return LabelledSlide(replace(slide.inputs, oracle_expression=slide.expression.copy()), slide.expression)


def test_an_oracle_sees_the_true_correlations_and_uses_them(cohort):
    train, validation = [shown(slide) for slide in cohort[0]], [shown(slide) for slide in cohort[1]]
    found = fitted("joint", (train, validation), oracle_edges=True, **EDM, window_px=1000)
    (slide,) = validation
    for batch in found._batches(slide.inputs):
        for row, spots in enumerate(batch.spots):
            n = len(spots)
            expected = spot_correlation(torch.from_numpy(slide.expression[spots]))
            torch.testing.assert_close(batch.edges[row, :n, :n, 2], expected, atol=1e-5, rtol=0)
    false = replace(slide.inputs, oracle_expression=slide.expression[:, ::-1] ** 2)
    assert not np.array_equal(found.predict(false, 1, 0), found.predict(slide.inputs, 1, 0))
    with pytest.raises(DataError, match="S4: expected the true expression, found none"):
        found.predict(cohort[2], 1, 0)


def test_settings_of_an_oracle_need_its_card(cohort):
    for kind in CLASSES:
        with pytest.raises(SettingError, match="method of kind generative; use"):
            resolve_settings(CARDS[kind], CLASSES[kind], "small", {"oracle_edges": "true"})
    for preset in ORACLE.presets:
        assert resolve_settings(ORACLE, JointDiffusion, preset, {}).oracle_edges
    found = new("joint", oracle_edges=True)
    assert "S1 was not given; only oracles receive it" in found.refuse(cohort[0], [cohort[2]], Context(GENES))


def test_the_oracle_differs_from_the_method_by_its_switch_alone():
    for preset, values in ORACLE.presets.items():
        assert values == CARDS["joint"].presets[preset] | {"oracle_edges": True}


# --- sizes, settings and cards


@pytest.mark.parametrize("genes", [10, 200, 800])
@pytest.mark.parametrize("kind", CLASSES)
def test_the_official_network_has_the_parameters_of_the_original(kind, genes):
    chosen = CLASSES[kind].Settings.model_validate(CARDS[kind].presets["official"])
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in GraphNetwork(chosen, genes, 1024).parameters())
    assert count == 44_619_289 + 769 * genes


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"edge_stream": "false"}, "edge_stream: Input should be True"),
        ({"hidden_dim": "27", "graph_heads": "9"}, "must be even"),
        ({"correlation": "spearman"}, "correlation"),
        ({"consistency_weight": "-1"}, "consistency_weight"),
        ({"graph_heads": "7"}, "multiple of graph_heads 7"),
    ],
)
def test_settings_that_do_not_fit_are_refused(overrides, said):
    with pytest.raises(SettingError, match=said):
        resolve_settings(CARDS["joint"], JointDiffusion, "paper", overrides)


def test_what_no_knob_covers_is_small_as_it_is_in_flag():
    flag = find_method("flag").presets["small"]
    for card in CARDS.values():
        free = {"graph_layers", *card.search.knobs}
        own = {name: value for name, value in card.presets["small"].items() if name not in free}
        assert own == {name: value for name, value in flag.items() if name in own}


SWITCHES = {"attention", "oracle_edges", "edge_channels", "adaptive_norm", "parameterization", "start", "clip_rule"}
JOINT = {"correlation", "edge_noise", "correlation_gradient", "consistency_weight", "edge_weight"}


@pytest.mark.parametrize(("kind", "own"), [("joint", JOINT), ("node", {"edge_stream"})])
def test_the_card_lists_every_switch_with_its_default(kind, own):
    card, settings = CARDS[kind], CLASSES[kind].Settings
    defaults = settings().model_dump()
    rows = {row.switch: row for row in card.differences if row.switch}
    assert SWITCHES | own <= rows.keys() <= settings.model_fields.keys()
    for switch, row in rows.items():
        value = defaults[switch]
        numbers = (f"{value:g}", "1e-4" if value == 1e-4 else "") if isinstance(value, float) else ()
        assert row.default.split()[0] in (str(value).lower(), *numbers), row.topic
    assert {"paper", "official", "small", "fast"} <= card.presets.keys()


def test_defaults_of_both_methods_agree_but_for_the_edge_stream():
    joint, node = JointSettings().model_dump(), NodeSettings().model_dump()
    assert {name for name in node if node[name] != joint[name]} == {"edge_stream"}
