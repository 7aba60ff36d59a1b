"""FLAG on a task of seconds, its sizes, and its card."""

import numpy as np
import pytest
import torch

from stbench.errors import DataError, RunFailedError, SettingError, UnknownNameError
from stbench.methods.base import Context
from stbench.methods.flag import Flag, method
from stbench.methods.flag.losses import gene_alignment, spot_alignment
from stbench.methods.flag.network import FlagNetwork
from stbench.methods.flag.settings import FlagSettings
from stbench.methods.registry import find_method, resolve_settings
from stbench.training.scores import mean_gene_correlation

CARD = find_method("flag")
GENES = ("A", "B", "C", "D", "E", "F")
SMALL = {"hidden_dim": 16, "graph_layers": 1, "graph_heads": 2, "dit_layers": 2, "dit_heads": 2, "gene_dim": 8}
SMALL |= {"align_layer": 1, "projector_dim": 8, "max_updates": 4, "validate_every": 2, "accumulate": 2}
SHORT = {"passes": 3, "validation_passes": 3}
EDM = {"parameterization": "edm", "solver": "dpmpp-2m"}
FLOW = {"parameterization": "flow", "solver": "midpoint", "passes": 4, "validation_passes": 4}


def settings(preset="paper", **changes):
    return FlagSettings.model_validate({**CARD.presets[preset], **SMALL, **SHORT, **changes})


def fitted(cohort, chosen, **context):
    found = Flag(chosen)
    found.fit(cohort[0], cohort[1], Context(GENES, **context))
    return found


VARIANTS = {
    "paper": {},
    "official": {"preset": "official"},
    "edm": EDM,
    "flow": FLOW,
    "diffusion off": {"diffusion": False},
    "graph off": {"graph": False, **EDM},
    "graph and diffusion off": {"graph": False, "diffusion": False},
    "no prior": {"prior": "none"},
    "no alignment": {"align_weight": 0},
    "no edges": {"edge_channels": "none"},
    "distance alone": {"edge_channels": "distance"},
    "random windows": {"window_sampling": "random", "batch_windows": 3},
    "edge stream": {"edge_stream": True},
    "start zero": {"start": "zero"},
    "features as they are": {"standardize_features": False},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_fits_and_predicts_repeats_saves_and_loads(cohort, changes, tmp_path):
    found = fitted(cohort, settings(**changes))
    predicted = found.predict(cohort[2], 2, 7)
    assert predicted.shape == (2 if found.settings.diffusion else 1, 30, 6)
    assert predicted.dtype == np.float32
    assert np.isfinite(predicted).all()
    assert (predicted >= 0).all()
    np.testing.assert_array_equal(fitted(cohort, settings(**changes)).predict(cohort[2], 2, 7), predicted)
    found.save(tmp_path / "flag.safetensors")
    np.testing.assert_array_equal(Flag.load(tmp_path / "flag.safetensors").predict(cohort[2], 2, 7), predicted)
    mean = found.predict_mean(cohort[2], 7)
    assert (mean is not None) is (found.settings.diffusion and found.settings.parameterization in ("edm", "flow"))
    assert mean is None or (mean.shape == (30, 6) and np.isfinite(mean).all())


@pytest.mark.parametrize("changes", [EDM, FLOW, {"diffusion": False}], ids=str)
def test_it_learns(cohort, changes):
    short = {"max_updates": 100, "validate_every": 50, "accumulate": 1, "window_px": 5000, "prior": "none"}
    trained = settings(**changes, **short, lr=1e-2, ema=0.95, dropout=0)
    found = fitted(cohort, trained.model_copy(update={"passes": 8}))
    (slide,) = cohort[1]
    predicted = found.predict(slide.inputs, 4, 0).mean(axis=0)
    assert mean_gene_correlation(slide.expression, predicted) > 0.6
    assert abs(predicted.mean() - slide.expression.mean()) < 0.5


def test_another_seed_gives_another_result(cohort):
    first, second = (fitted(cohort, settings(**EDM), seed=seed).predict(cohort[2], 1, 0) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_a_draw_depends_neither_on_their_number_nor_on_the_batch(cohort, monkeypatch):
    found = fitted(cohort, settings(**EDM, window_px=1000))
    many, few = found.predict(cohort[2], 4, 0), found.predict(cohort[2], 2, 0)
    np.testing.assert_array_equal(many[:2], few)
    assert not np.array_equal(many[0], many[1])
    monkeypatch.setattr(method, "values_at_once", lambda _: 1)  # every window on its own
    np.testing.assert_allclose(found.predict(cohort[2], 2, 0), few, atol=1e-4)


def test_spots_pass_the_gene_transformer_in_parts(cohort, monkeypatch):
    found, inputs = fitted(cohort, settings(**EDM)), cohort[2]
    whole = found.predict(inputs, 1, 3)
    monkeypatch.setattr("stbench.methods.flag.network._VALUES_AT_ONCE", 3 * 6 * 16)
    np.testing.assert_allclose(found.predict(inputs, 1, 3), whole, rtol=1e-4, atol=1e-4)


def test_narrow_spots_are_sampled_in_windows_of_bounded_size(cohort):
    found, inputs = fitted(cohort, settings(window_most_spots=4, window_px=1e6, **EDM)), cohort[2]
    sizes = [len(spots) for batch in found._batches(inputs) for spots in batch.spots]
    assert (max(sizes), sum(sizes)) == (4, inputs.n_spots)
    assert np.isfinite(found.predict(inputs, 1, 3)).all()


def test_a_resumed_fit_equals_an_uninterrupted_one(cohort, tmp_path, monkeypatch):
    chosen = settings(**EDM).model_copy(update={"max_updates": 6})
    whole = fitted(cohort, chosen).module_.state_dict()
    losses = method.FlagObjective.losses

    def interrupted(self, module, index, generator):
        if index >= 9:  # within the fifth update, after the checkpoint of the fourth
            raise RunFailedError("power cut")
        return losses(self, module, index, generator)

    monkeypatch.setattr(method.FlagObjective, "losses", interrupted)
    with pytest.raises(RunFailedError):
        fitted(cohort, chosen, workdir=tmp_path)
    seen = []
    monkeypatch.setattr(
        method.FlagObjective,
        "losses",
        lambda self, module, index, generator: seen.append(index) or losses(self, module, index, generator),
    )
    resumed = fitted(cohort, chosen, workdir=tmp_path, resume=True).module_.state_dict()
    assert min(seen) == 8
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_a_prior_from_a_file_is_used_masked_where_it_lacks_a_gene(cohort, tmp_path):
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "prior.npz", genes=np.array(GENES[:5]), embedding=generator.normal(size=(5, 7)))
    found = fitted(cohort, settings(prior=f"file:{tmp_path / 'prior.npz'}?missing=mask"))
    assert found.sizes_["prior_dim"] == 7
    with pytest.raises(DataError, match="1 are missing"):
        fitted(cohort, settings(prior=f"file:{tmp_path / 'prior.npz'}"))
    with pytest.raises(UnknownNameError, match="gene prior"):
        fitted(cohort, settings(prior="genformer"))


def test_alignment_enters_the_loss_with_its_weight(cohort):
    found = Flag(settings(align_weight=0.25))
    trainer = found._trainer(cohort[0], cohort[1], Context(GENES))
    terms = trainer.objective.losses(found.module_, 0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(terms["total"], terms["score"] + 0.25 * terms["align"])
    assert -1 <= float(terms["align"].detach()) <= 1


def test_the_estimate_of_its_time_leaves_it_unfitted(cohort):
    found = Flag(settings())
    assert found.estimate_seconds(cohort[0], [cohort[2]], 2, Context(GENES)) > 0
    assert not hasattr(found, "module_")


# --- the network


def network(**changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = FlagNetwork(settings(**changes), n_genes=6, n_features=5, prior_dim=4)
        for parameter in found.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return found.eval()


def window(n=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x, features = torch.randn(1, n, 6, generator=generator), torch.randn(1, n, 5, generator=generator)
    return x, torch.tensor([0.4]), features, torch.rand(1, n, n, 2, generator=generator), torch.ones(1, n) > 0


@pytest.mark.parametrize("changes", [{}, {"preset": "official"}, {"graph": False}], ids=str)
@torch.no_grad()
def test_a_batch_of_padded_windows_equals_single_runs(changes):
    found, parts = network(**changes), [window(7, 1), window(2, 2)]
    padded = [torch.full((2, *tensor.shape[1:]), 5.0) for tensor in parts[0]]
    padded[1], padded[4] = torch.tensor([0.4, 0.4]), torch.zeros(2, 7, dtype=torch.bool)
    for row, (x, _, features, edges, mask) in enumerate(parts):
        n = mask.shape[1]
        padded[0][row, :n], padded[2][row, :n], padded[3][row, :n, :n], padded[4][row, :n] = x, features, edges, True
    together = found(*padded, project=True)
    alone = [found(*part, project=True) for part in parts]
    for row, single in enumerate(alone):
        torch.testing.assert_close(together.value[row, : single.value.shape[1]], single.value[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        together.projected, torch.cat([single.projected for single in alone]), atol=1e-4, rtol=1e-4
    )
    assert not together.value[1, 2:].any()


@torch.no_grad()
def test_spots_have_no_order_of_their_own():
    found, (x, t, features, edges, mask) = network(), window()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    moved = found(x[:, order], t, features[:, order], edges[:, order][:, :, order], mask).value
    torch.testing.assert_close(moved, found(x, t, features, edges, mask).value[:, order], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("preset", "expected"), [("paper", True), ("official", False)])
@torch.no_grad()
def test_the_encoder_sees_edges_and_time_in_the_paper_and_not_as_released(preset, expected):
    found, (x, t, features, edges, mask) = network(preset=preset), window()

    def spatial(tau, e):
        return found.graph(x, None, tau, features, e, mask)[0]

    tau = found.time(t)
    assert bool((spatial(tau + 1, edges) - spatial(tau, edges)).abs().max() > 1e-5) is expected
    assert bool((spatial(tau, edges + 1) - spatial(tau, edges)).abs().max() > 1e-5) is expected


@torch.no_grad()
def test_without_graph_spots_do_not_talk():
    found, (x, t, features, edges, mask) = network(graph=False), window()
    out = found(x, t, features, edges, mask).value
    moved = features.clone()
    moved[0, 2] += 1
    changed = (found(x, t, moved, edges, mask).value - out).abs().amax(dim=2)[0] > 1e-5
    assert changed.tolist() == [spot == 2 for spot in range(7)]


def test_a_new_network_gives_zero():
    found = FlagNetwork(settings(), n_genes=6, n_features=5, prior_dim=4)
    assert not found(*window()).value.any()


UNUSED = {"image map": 1_443_200, "pooling": 2_359_296, "pooling of edges": 6 * 768, "time map": 295_680}
PLAIN = ("image map", "pooling", "time map")
COUNTS = [  # fact sheet section 7: the original's parameters, and those of them that take no part in any output
    (75_904_610, {}, PLAIN),
    (75_927_650, {"edge_channels": "both"}, (*PLAIN, "pooling of edges")),
    (86_549_090, {"edge_channels": "both", "adaptive_norm": True}, ("image map",)),
    (74_593_250, {"z": 512}, PLAIN),
    (68_559_330, {"z": 0}, PLAIN),
    (79_203_810, {"z": 0, "edge_channels": "both", "adaptive_norm": True}, ("image map",)),
    (41_476_097, {"graph": False}, ()),
    (34_130_817, {"graph": False, "z": 0}, ()),
    (75_588_260, {"genes": 10}, PLAIN),
    (76_903_610, {"genes": 800}, PLAIN),
]


def count(preset, z=1152, genes=200, **changes):
    chosen = FlagSettings.model_validate({**CARD.presets[preset], **changes})
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in FlagNetwork(chosen, genes, 1024, z).parameters())


@pytest.mark.parametrize(("original", "changes", "unused"), COUNTS)
def test_the_official_network_has_the_parameters_of_the_original_but_the_unused(original, changes, unused):
    assert count("official", **changes) + sum(UNUSED[name] for name in unused) == original


def test_the_paper_network_is_smaller_for_its_static_edges():
    """Eq. 60 has no edge stream and one score per head: the rest of the original with both conditions on is there."""
    stream = 6 * (2 * 295_680 + 3 * 384**2 + 384 + 887_424) + 2 * 384 + 384**2 + 384 + 2 * 384 + 384 + 1
    per_channel = 6 * (4 * 768 + 2 * 384 * 1024)  # edge maps, and the bias maps of the node condition
    per_head = 6 * (2 * 2 * 8 + 2 * 8 * 1024)
    assert count("paper") == 86_549_090 - UNUSED["image map"] - stream - per_channel + per_head


# --- losses and settings


def test_alignment_of_equal_opposite_and_masked_vectors():
    tokens = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    every = torch.ones(3, 4)
    assert float(gene_alignment(tokens, 2 * tokens, every)) == pytest.approx(-1)
    assert float(gene_alignment(tokens, -tokens, every)) == pytest.approx(1)
    part = torch.tensor([[1, 0, 0, 0]] * 3)
    assert float(gene_alignment(tokens, tokens * torch.tensor([1, -1, -1, -1])[:, None], part)) == pytest.approx(-1)
    assert float(gene_alignment(tokens, tokens[0], every[0])) == pytest.approx(
        float(gene_alignment(tokens, tokens[:1].expand(3, 4, 5), every))
    )


def test_alignment_without_a_valid_gene_is_zero_and_still_has_a_gradient():
    tokens = torch.ones(2, 3, 4, requires_grad=True)
    found = gene_alignment(tokens, torch.ones(3, 4), torch.zeros(3))
    found.backward()
    assert float(found.detach()) == 0
    assert not tokens.grad.any()


def test_spot_alignment_as_released_and_squared():
    tokens = torch.tensor([[[1.0, 0], [3, 0]]])
    target = torch.tensor([[2.0, 2]])
    assert float(spot_alignment(tokens, target)) == pytest.approx(-(0.5**0.5))
    assert float(spot_alignment(tokens, target, squared=True)) == pytest.approx(4)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"align_layer": "13"}, "align_layer 13 must not be above dit_layers 12"),
        ({"dit_heads": "7"}, "multiple of dit_heads 7"),
        ({"solver": "midpoint"}, "needs parameterization flow"),
        ({"sigma_max": "0.001"}, "must be above sigma_min"),
        ({"attention": "both"}, "attention"),
    ],
)
def test_settings_that_do_not_fit_are_refused(overrides, said):
    with pytest.raises(SettingError, match=said):
        resolve_settings(CARD, Flag, "paper", overrides)


def test_the_card_has_the_presets_and_every_switch_of_the_study():
    assert {"paper", "official", "small"} <= CARD.presets.keys()
    assert CARD.draws == 8
    switches = {row.switch for row in CARD.differences if row.switch}
    assert switches <= FlagSettings.model_fields.keys()
    assert switches >= {
        *("attention", "edge_channels", "edge_stream", "adaptive_norm", "sigma", "align_layer", "align_weight"),
        *("diffusion", "graph", "prior", "parameterization", "start", "solver", "passes", "clip_rule"),
        *("accumulate_rule", "lr", "ema_warmup", "epochs"),
    }


def test_defaults_on_the_card_are_those_of_the_settings():
    defaults = FlagSettings().model_dump()
    for row in CARD.differences:
        if row.switch:
            value = defaults[row.switch]
            assert row.default.split(",")[0].split(":")[0].split()[0] in (
                str(value).lower(),
                f"{value:g}" if isinstance(value, float) else "",
                "1e-4" if value == 1e-4 else "",
                "masked" if row.topic.startswith("F11") else "",
            ), row.topic
