"""STFlow on a task of seconds, released state dicts, reference vectors, and its card."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from stbench.errors import DataError, RunFailedError, SettingError
from stbench.methods.base import Context, LabelledSlide
from stbench.methods.registry import find_method, resolve_settings
from stbench.methods.stflow import StFlow, method
from stbench.methods.stflow.geometry import build_graph
from stbench.methods.stflow.network import StFlowNetwork
from stbench.methods.stflow.released import released_name, take_released
from stbench.methods.stflow.sets import PatchSets
from stbench.methods.stflow.settings import StFlowSettings
from stbench.proofs.parity import compare_file
from stbench.training.scores import mean_gene_correlation

CARD = find_method("stflow")
GENES = ("A", "B", "C", "D", "E", "F")
SMALL = {"hidden_dim": 16, "edge_dim": 12, "layers": 2, "heads": 2, "neighbours": 4, "visits": 2, "epochs": 2}
PARITY = Path(__file__).parents[1] / "parity" / "stflow"
FILES = sorted(PARITY.glob("*.safetensors"))


def settings(preset="paper", **changes):
    return StFlowSettings.model_validate({**CARD.presets[preset], **SMALL, **changes})


def fitted(cohort, chosen, **context):
    found = StFlow(chosen)
    found.fit(cohort[0], cohort[1], Context(GENES, **context))
    return found


VARIANTS = {
    "paper": {},
    "official": {"preset": "official"},
    "small": {"preset": "small", "max_updates": 4, "validate_every": 2},
    "gaussian prior": {"prior": "gaussian"},
    "no prior": {"prior": "zero"},
    "gelu": {"activation": "gelu"},
    "one step": {"refinement_steps": 1},
    "small sets": {"set_spots": 7, "batch_windows": 3},
    "more neighbours than spots": {"neighbours": 64},
    "bfloat16": {"precision": "bf16"},
    "clipped": {"clip_negative": True},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_fits_and_predicts_repeats_saves_and_loads(cohort, changes, tmp_path):
    found = fitted(cohort, settings(**changes))
    predicted = found.predict(cohort[2], 2, 7)
    assert predicted.shape == (2, 30, 6)
    assert predicted.dtype == np.float32
    assert np.isfinite(predicted).all()
    assert (predicted >= 0).all() or not found.settings.clip_negative
    assert np.array_equal(predicted[0], predicted[1]) is (found.settings.prior == "zero")
    np.testing.assert_array_equal(fitted(cohort, settings(**changes)).predict(cohort[2], 2, 7), predicted)
    found.save(tmp_path / "stflow.safetensors")
    np.testing.assert_array_equal(StFlow.load(tmp_path / "stflow.safetensors").predict(cohort[2], 2, 7), predicted)


def test_it_learns(cohort):
    found = fitted(cohort, settings(epochs=12, visits=10, lr=5e-3, dropout=0, attention_dropout=0, patience=99))
    (slide,) = cohort[1]
    predicted = found.predict(slide.inputs, 4, 0)
    assert mean_gene_correlation(slide.expression, predicted.mean(axis=0)) > 0.6
    assert mean_gene_correlation(slide.expression, found.predict_mean(slide.inputs, 0)) > 0.6
    assert abs(predicted.mean() - slide.expression.mean()) < 0.5


def test_another_seed_gives_another_result(cohort):
    first, second = (fitted(cohort, settings(), seed=seed).predict(cohort[2], 1, 0) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_a_draw_depends_neither_on_their_number_nor_on_the_slides_before(cohort, monkeypatch):
    found = fitted(cohort, settings())
    many, few = found.predict(cohort[2], 4, 0), found.predict(cohort[2], 2, 0)
    np.testing.assert_array_equal(many[:2], few)
    assert not np.array_equal(many[0], many[1])
    monkeypatch.setattr(method, "_KEPT_EDGES", 0)  # pairs embedded anew in every step
    np.testing.assert_allclose(found.predict(cohort[2], 2, 0), few, atol=1e-4)


def test_the_start_of_a_draw_is_its_prior_alone(cohort):
    """With one step and weights that pass the state through, a draw is what its seed draws from the prior."""
    found = fitted(cohort, settings(refinement_steps=1))
    states = []
    found.module_.register_forward_pre_hook(lambda module, given: states.append(given[0]))
    found.predict(cohort[2], 3, 7)
    found.predict(replace(cohort[2], slide_id="another"), 1, 7)
    found.predict(cohort[2], 1, 8)
    torch.testing.assert_close([torch.log1p(state.expm1().round()) for state in states], states)
    assert len({state.numpy().tobytes() for state in states}) == 5
    found.predict(cohort[2], 2, 7)
    assert torch.equal(states[-1], states[1])


def test_a_resumed_fit_equals_an_uninterrupted_one(cohort, tmp_path, monkeypatch):
    chosen = settings(epochs=3)
    whole = fitted(cohort, chosen).module_.state_dict()
    losses = method.StFlowObjective.losses

    def interrupted(self, module, index, generator):
        if index >= 5:  # within the third epoch, after the checkpoint of the second
            raise RunFailedError("power cut")
        return losses(self, module, index, generator)

    monkeypatch.setattr(method.StFlowObjective, "losses", interrupted)
    with pytest.raises(RunFailedError):
        fitted(cohort, chosen, workdir=tmp_path)
    monkeypatch.setattr(method.StFlowObjective, "losses", losses)
    resumed = fitted(cohort, chosen, workdir=tmp_path, resume=True).module_.state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_patch_sets_are_the_spots_around_one_and_an_epoch_visits_every_slide(cohort):
    slides = cohort[0]
    rule = StFlow(settings()).rule
    features = [slide.inputs.features for slide in slides]
    sets = PatchSets(slides, features, rule, batch=1, visits=30, most=None, seed=0)
    assert len(sets) == 60
    sizes = {40: [], 25: []}
    for index in range(len(sets)):
        batch = sets[index]
        slide = slides[index % 2]
        rows = [int(np.flatnonzero((slide.inputs.features == row.numpy()).all(axis=1))[0]) for row in batch.features]
        assert rows == sorted(set(rows))
        np.testing.assert_array_equal(batch.expression, slide.expression[rows])
        xy = slide.inputs.xy
        reach = np.linalg.norm(xy - xy[rows][:, None], axis=-1)
        assert any(set(rows) == set(np.argsort(gaps)[: len(rows)]) for gaps in reach)
        sizes[len(xy)].append(len(rows))
    for n, seen in sizes.items():
        assert min(seen) >= 2
        assert max(seen) <= n
        assert np.mean(seen) == pytest.approx(n / 2, rel=0.35)
    capped = PatchSets(slides, features, rule, batch=3, visits=1, most=6, seed=0)
    assert len(capped) == 1
    assert capped[0].n_sets == 2
    assert len(capped[0].graph) <= 12
    assert not torch.equal(capped[0].features, capped[1].features)


def test_genes_and_spots_without_counts_and_spots_on_top_of_each_other(cohort):
    train = [LabelledSlide(slide.inputs, slide.expression.copy()) for slide in cohort[0]]
    for slide in train:
        slide.expression[:, 2] = 0
        slide.expression[4] = 0
    moved = replace(train[0].inputs, xy=np.zeros_like(train[0].inputs.xy))
    found = fitted(([LabelledSlide(moved, train[0].expression), train[1]], *cohort[1:]), settings(epochs=4))
    for inputs in (cohort[2], replace(cohort[2], xy=np.full_like(cohort[2].xy, 7))):
        assert np.isfinite(found.predict(inputs, 2, 0)).all()
    assert not found.draw_start(500, np.random.default_rng(0))[:, 2].any()


def test_a_slide_of_one_spot_is_predicted_and_trained_on(cohort):
    (first, second), validation, test = cohort
    single = replace(test, features=test.features[:1], xy=test.xy[:1])
    inputs = replace(first.inputs, features=first.inputs.features[:1], xy=first.inputs.xy[:1])
    found = fitted(([LabelledSlide(inputs, first.expression[:1]), second], validation, test), settings())
    assert found.predict(single, 2, 0).shape == (2, 1, 6)
    assert np.isfinite(found.predict(single, 2, 0)).all()


def test_values_that_are_not_finite_are_named_with_slide_step_and_setting(cohort):
    found = fitted(cohort, settings())
    calls = []

    def spoiled(module, given, out):
        calls.append(given)
        return out * float("nan") if len(calls) == 7 else out

    hook = found.module_.register_forward_hook(spoiled)
    with pytest.raises(RunFailedError, match=r"slide S4 .* draw 1, refinement step 3 of 4 .*refinement_steps = 4.*lr"):
        found.predict(cohort[2], 2, 0)
    hook.remove()
    broken = cohort[2].features.copy()
    broken[3, 2] = np.nan
    with pytest.raises(RunFailedError, match=r"step 1 of 4 .*its image features"):
        found.predict(replace(cohort[2], features=broken), 1, 0)


def test_the_estimate_of_its_time_leaves_it_unfitted(cohort):
    found = StFlow(settings())
    assert found.estimate_seconds(cohort[0], [cohort[2]], 2, Context(GENES)) > 0
    assert not hasattr(found, "module_")


# --- released state dicts


def released(n_genes=6, **changes):
    """A state dict under the released names."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = StFlowNetwork(settings("official", **changes), n_genes, 5)
    return {released_name(name): value for name, value in network.state_dict().items()}


@pytest.mark.parametrize("form", ["weights.safetensors", "weights.pt", "wrapped.pt"])
def test_a_released_state_dict_takes_the_place_of_training(cohort, tmp_path, form):
    state, path = released(), tmp_path / form
    if form.endswith("safetensors"):
        save_file(state, path)
    else:
        torch.save({"state_dict": state} if form.startswith("wrapped") else state, path)
    found = fitted(cohort, settings("official", weights=str(path)))
    own = found.module_.state_dict()
    assert all(torch.equal(own[name], state[released_name(name)]) for name in own)
    predicted = found.predict(cohort[2], 1, 0)
    found.save(tmp_path / "stflow.safetensors")
    path.unlink()
    np.testing.assert_array_equal(StFlow.load(tmp_path / "stflow.safetensors").predict(cohort[2], 1, 0), predicted)


def load(state, **changes):
    take_released(StFlowNetwork(settings("official", **changes), 6, 5), state, "released.pt")


def test_a_state_dict_of_another_panel_is_named():
    with pytest.raises(
        DataError, match=r"^released.pt: expected a panel of 6 genes as in this task, found weights for 50 genes"
    ):
        load(released(50))


def test_an_attention_that_is_wired_to_50_genes_is_named():
    state = released()
    key = "backbone.blks.1.attn.mlp_attn.fc1.weight"
    state[key] = released(50)[key]
    with pytest.raises(DataError, match=rf"1 misshapen: {key} \(16, 72\) instead of \(16, 28\)"):
        load(state)


@pytest.mark.parametrize("key", ["image_transform.bias", "backbone.blks.1.attn.edge_trans.norm.weight"])
def test_entries_that_are_missing_or_unexpected_are_named(key):
    state = released()
    value = state.pop(key)
    with pytest.raises(DataError, match=f"1 missing: {key}"):
        load(state)
    with pytest.raises(DataError, match=f"1 unexpected: zz.{key}"):
        load(state | {key: value, f"zz.{key}": value})


def test_a_weight_file_that_is_absent_or_damaged_is_refused(cohort, tmp_path):
    path = tmp_path / "weights.pt"
    with pytest.raises(DataError, match=r"weights\.pt"):
        fitted(cohort, settings("official", weights=str(path)))
    path.write_bytes(b"damaged")
    with pytest.raises(DataError, match="unreadable"):
        fitted(cohort, settings("official", weights=str(path)))


# --- reference vectors


def read(path):
    with safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


def test_every_vector_is_here():
    assert {path.stem for path in FILES} == {"denoiser_a", "denoiser_b", "denoiser_c"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_output_equals_the_original(path):
    report = compare_file(path)
    assert [row for row in report.rows if not row.passed] == []
    assert len(report.rows) == sum(name.startswith("output/") for name in read(path)[0])
    assert max(row.difference / max(row.largest, 0.01) for row in report.rows) < 2e-5  # far inside the tolerance


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_output_that_is_off_and_a_changed_weight_are_found(path, tmp_path):
    tensors, metadata = read(path)
    for name in [name for name in tensors if name.startswith("output/")]:
        if tensors[name].is_floating_point():
            tensors[name] = tensors[name] * 1.05 + 1e-3
        else:
            tensors[name] = tensors[name] + 1
    save_file(tensors, tmp_path / "off.safetensors", metadata=metadata)
    assert [row.name for row in compare_file(tmp_path / "off.safetensors").rows if row.passed] == []
    tensors, metadata = read(path)
    tensors["param/backbone.blks.0.attn.W_output.fc2.weight"] *= 1.1
    save_file(tensors, tmp_path / "off.safetensors", metadata=metadata)
    failed = {row.name for row in compare_file(tmp_path / "off.safetensors").rows if not row.passed}
    assert {"block_0_attn_out", "prediction"} <= failed


@pytest.mark.parametrize("sizes", [(9, 3, 2, 4), (21, 70, 3, 6)], ids=str)
def test_files_of_other_sizes_pass_without_a_change(tmp_path, sizes):
    """A reference that the port itself made, at sizes no file of the original has."""
    n_spots, n_genes, layers, k = sizes
    config = {"n_genes": n_genes, "feature_dim": 5, "hidden_dim": 16, "pairwise_hidden_dim": 12, "n_layers": layers}
    config |= {"n_heads": 2, "n_neighbors": k, "activation": "relu"}
    chosen = settings("official", layers=layers, neighbours=k, activation="relu")
    network = StFlowNetwork(chosen, n_genes, 5).eval()
    generator = torch.Generator().manual_seed(n_spots)
    x, features = torch.randn(1, n_spots, n_genes, generator=generator), torch.randn(1, n_spots, 5, generator=generator)
    xy, t = torch.rand(1, n_spots, 2, generator=generator) * 2000, torch.tensor([0.4])
    with torch.no_grad():
        out = network(x[0], t, features[0], build_graph(xy[0].numpy(), StFlow(chosen).rule))
    given = {"noisy_exp": x, "img_features": features, "coords": xy, "t": t, "labels": x + 1}
    tensors = {f"param/{released_name(name)}": value for name, value in network.state_dict().items()}
    tensors |= {f"input/{name}": value for name, value in given.items()} | {"output/prediction": out[None]}
    metadata = {"method": "stflow", "component": "denoiser", "config": json.dumps(config)}
    save_file({name: value.contiguous() for name, value in tensors.items()}, tmp_path / "own.safetensors", metadata)
    assert compare_file(tmp_path / "own.safetensors").passed


# --- settings and card


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"refinement_steps": "0"}, "refinement_steps"),
        ({"neighbours": "0"}, "neighbours"),
        ({"heads": "3"}, "hidden_dim 128 must be a multiple of heads 3"),
        ({"prior": "uniform"}, "prior"),
        ({"activation": "tanh"}, "activation"),
    ],
)
def test_settings_that_do_not_fit_are_refused(overrides, said):
    with pytest.raises(SettingError, match=said):
        resolve_settings(CARD, StFlow, "paper", overrides)


def test_the_card_has_the_presets_and_every_switch_of_the_study():
    assert {"paper", "official", "small", "test"} <= CARD.presets.keys()
    switches = {row.switch for row in CARD.differences if row.switch}
    assert switches <= StFlowSettings.model_fields.keys()
    assert switches >= {
        *("ties", "frames", "edge_distance", "layer_expression", "prior_fit", "standardize_features"),
        *("output_dropout", "refinement_steps", "time_scale", "clip_negative", "weights"),
    }


def test_the_official_preset_has_every_switch_as_released():
    official = settings("official")
    assert {name: getattr(official, name) for name in ("ties", "frames", "layer_expression", "prior_fit")} == {
        "ties": "index",
        "frames": "axes",
        "layer_expression": "previous",
        "prior_fit": "fixed",
    }
    assert (official.edge_distance, official.output_dropout, official.standardize_features) == (True, True, False)


def test_defaults_on_the_card_are_those_of_the_settings():
    defaults = StFlowSettings().model_dump()
    for row in CARD.differences:
        if row.switch:
            value = defaults[row.switch]
            said = row.default.split(",")[0].split(":")[0].split()[0]
            assert said in (str(value).lower(), f"{value:g}" if isinstance(value, float) else str(value)), row.topic
