"""Stem against the released code's vectors, on distributions with a known answer, on a tiny task, and its card."""

import argparse
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from stbench.errors import DataError, RunFailedError, SettingError
from stbench.methods.base import Context, LabelledSlide, SlideInputs
from stbench.methods.nn.discrete import linear_schedule, respaced
from stbench.methods.nn.released import released_state
from stbench.methods.registry import find_method, resolve_settings
from stbench.methods.stem import Stem, method
from stbench.methods.stem.diffusion import Diffusion, discretised_likelihood, trajectory
from stbench.methods.stem.network import StemNetwork
from stbench.methods.stem.released import released_names, take_released
from stbench.methods.stem.settings import StemSettings
from stbench.methods.stem.views import N_VIEWS, view
from stbench.proofs.parity import compare_file
from stbench.training.scores import mean_gene_correlation

CARD = find_method("stem")
VECTORS = sorted((Path(__file__).parents[1] / "parity" / "stem").glob("*.safetensors"))
GENES = ("A", "B", "C", "D", "E", "F")
TINY = {"hidden_dim": 16, "dit_layers": 2, "dit_heads": 2, "max_updates": 4, "validate_every": 2, "accumulate": 2}
TINY |= {"batch_windows": 16, "steps": "4", "validation_steps": "3"}


def settings(preset="paper", **changes):
    return StemSettings.model_validate({**CARD.presets[preset], **TINY, **changes})


def fitted(cohort, chosen, **context):
    found = Stem(chosen)
    found.fit(cohort[0], cohort[1], Context(GENES, **context))
    return found


# --- the released code's numbers


def read(path):
    with safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_every_output_equals_the_original(path):
    report = compare_file(path)
    assert [row for row in report.rows if not row.passed] == []
    assert {row.name for row in report.rows} == {
        name.removeprefix("output/") for name in read(path)[0] if name.startswith("output/")
    }


def test_the_schedule_is_right_to_float64():
    (path,) = [path for path in VECTORS if path.stem == "diffusion"]
    rows = [row for row in compare_file(path).rows if row.name.partition("/")[0] in ("schedule", "respaced_betas")]
    assert len(rows) == 22
    assert all(row.difference <= 1e-11 * row.largest for row in rows)


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_every_output_that_is_one_percent_off_is_found(path, tmp_path):
    tensors, metadata = read(path)
    outputs = [name for name in tensors if name.startswith("output/")]
    for name in outputs:
        values = tensors[name].clone().reshape(-1)
        largest = values.abs().argmax()
        values[largest] = values[largest] * 1.01 if values.is_floating_point() else values[largest] + 1
        tensors[name] = values.reshape(tensors[name].shape)
    save_file(tensors, tmp_path / "off.safetensors", metadata=metadata)
    rows = compare_file(tmp_path / "off.safetensors").rows
    assert len(rows) == len(outputs)
    assert not any(row.passed for row in rows)


def test_a_vector_whose_parameters_do_not_fit_its_config_is_refused(tmp_path):
    tensors, metadata = read(VECTORS[-1])
    config = json.loads(metadata["config"])
    save_file(tensors, tmp_path / "a.safetensors", metadata={**metadata, "config": json.dumps({**config, "depth": 1})})
    with pytest.raises(DataError, match=r"unexpected: blocks\.1\."):
        compare_file(tmp_path / "a.safetensors")


# --- the process, where the exact network is known

MEAN, SPREAD = torch.tensor([0.5, -1.0, 2.0]), 0.7


def exact(prediction, variance=0.0):
    """The network of x_0 ~ N(MEAN, SPREAD^2): conditional expectation of the noise or the velocity."""
    a = torch.from_numpy(linear_schedule().alpha_bar).float()

    def network(x, t):
        keep, add = a[t].sqrt()[:, None], (1 - a[t]).sqrt()[:, None]
        gain = keep * SPREAD**2 / (keep**2 * SPREAD**2 + add**2)
        clean = MEAN + gain * (x - keep * MEAN)
        noise = (x - keep * clean) / add
        first = noise if prediction == "epsilon" else keep * noise - add * clean
        return torch.stack([first, torch.full_like(first, variance)], dim=1)

    return network


def end(process, network, n=3000, **rules):
    generator = torch.Generator().manual_seed(0)
    states = trajectory(
        process,
        network,
        torch.randn(n, 3, generator=generator),
        lambda: torch.randn(n, 3, generator=generator),
        **rules,
    )
    *_, (x, clean) = states
    return x, clean


@pytest.mark.parametrize("prediction", ["epsilon", "velocity"])
@pytest.mark.parametrize("rules", [{"sampler": "ddpm", "eta": 0.0}, {"sampler": "ddim", "eta": 0.0}], ids=str)
def test_the_exact_network_gives_the_distribution_of_the_data(prediction, rules):
    process = Diffusion(respaced(linear_schedule(), "100"), prediction)
    x, clean = end(process, exact(prediction), **rules)
    torch.testing.assert_close(x.mean(dim=0), MEAN, atol=0.04, rtol=0)
    torch.testing.assert_close(x.std(dim=0), torch.full((3,), SPREAD), atol=0.03, rtol=0)
    torch.testing.assert_close(x, clean, atol=1e-4, rtol=0)  # the last step is free of noise


def test_both_predictions_walk_the_same_path():
    schedule = respaced(linear_schedule(), "20")
    ends = [
        end(Diffusion(schedule, name), exact(name), 5, sampler="ddpm", eta=0.0)[0] for name in ("epsilon", "velocity")
    ]
    torch.testing.assert_close(*ends, atol=1e-3, rtol=1e-3)


def test_ddim_with_all_its_noise_is_ddpm_with_the_posterior_variance():
    process = Diffusion(respaced(linear_schedule(), "20"))
    network = exact("epsilon", variance=-1.0)  # the lower limit: the posterior's variance
    ddpm, ddim = (end(process, network, 5, sampler=name, eta=1.0)[0] for name in ("ddpm", "ddim"))
    torch.testing.assert_close(ddim, ddpm, atol=1e-3, rtol=1e-3)


def test_the_second_output_moves_the_variance_between_its_limits():
    process = Diffusion(linear_schedule())
    x, k = torch.zeros(2, 3), torch.tensor([500, 500])
    out = torch.zeros(2, 2, 3)
    out[0, 1], out[1, 1] = -1.0, 1.0
    low, high = process.reverse(out, x, k).log_variance[:, 0].exp()
    assert float(low) == pytest.approx(process.schedule.posterior_variance[500], rel=1e-5)
    assert float(high) == pytest.approx(process.schedule.betas[500], rel=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "velocity"])
def test_the_loss_of_a_perfect_guess_is_zero_and_the_bound_trains_the_variance_alone(prediction):
    process, generator = Diffusion(linear_schedule(), prediction), torch.Generator().manual_seed(0)
    clean, noise = torch.randn(6, 3, generator=generator), torch.randn(6, 3, generator=generator)
    k = torch.tensor([1, 5, 50, 500, 900, 999])
    keep = torch.from_numpy(process.schedule.alpha_bar)[k].sqrt().float()[:, None]
    add = (1 - keep**2).sqrt()
    first = (noise if prediction == "epsilon" else keep * noise - add * clean).clone().requires_grad_()
    second = torch.full((6, 3), -1.0, requires_grad=True)  # the posterior's own variance
    found = process.losses(lambda x, t: torch.stack([first, second], dim=1), clean, k, noise)
    assert float(found.mse.detach().max()) < 1e-5
    assert float(found.vb.detach().abs().max()) < 1e-3
    (gradient,) = torch.autograd.grad(found.vb.sum(), [first], retain_graph=True, allow_unused=True)
    assert gradient is None or not gradient.any()
    wide = process.losses(lambda x, t: torch.stack([first, second + 2], dim=1), clean, k, noise)
    assert (wide.vb >= found.vb - 1e-4).all()


def test_the_likelihood_at_step_0_is_a_mass_between_bins_and_a_tail_beyond():
    zero, log_scale = torch.zeros(1), torch.full((1,), math.log(0.5))
    inside = discretised_likelihood(zero, zero, log_scale)
    assert float(inside) == pytest.approx(math.log(2 / 255 / 0.5 / math.sqrt(2 * math.pi)), abs=1e-3)
    tail = discretised_likelihood(torch.ones(1), torch.ones(1), log_scale)
    assert float(tail) == pytest.approx(math.log(0.5), abs=0.02)
    assert float(discretised_likelihood(torch.tensor([3.0]), zero, torch.tensor([-5.0]))) == pytest.approx(
        math.log(1e-12)
    )


# --- the network

COUNTS = [  # fact sheet section 7
    (35_639_042, 200, 1536, {}),
    (35_581_442, 50, 1536, {}),
    (35_946_242, 1000, 1536, {}),
    (34_131_202, 200, 1024, {}),
    (676_041_986, 200, 512, {"hidden_dim": 1152, "dit_layers": 28, "dit_heads": 16}),
]


@pytest.mark.parametrize(("expected", "genes", "features", "changes"), COUNTS)
@pytest.mark.parametrize("preset", ["paper", "official"])
def test_the_network_has_the_parameters_of_the_original(preset, expected, genes, features, changes):
    chosen = StemSettings.model_validate({**CARD.presets[preset], **changes})
    with torch.device("meta"):
        assert sum(part.numel() for part in StemNetwork(chosen, genes, features).parameters()) == expected


def network(seed=0, n_genes=6, n_features=5):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found = StemNetwork(settings(), n_genes, n_features)
        for parameter in found.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return found.eval()


def test_a_new_network_gives_zero_and_starts_as_released():
    torch.manual_seed(0)
    found = StemNetwork(StemSettings(hidden_dim=96, dit_layers=2), 6, 64)
    assert not found(torch.randn(3, 6), torch.tensor([0, 5, 999]), torch.randn(3, 64)).any()
    for maps in (found.time.maps, found.condition):
        assert [float(maps[k].weight.detach().std()) for k in (0, 2)] == pytest.approx([0.02, 0.02], rel=0.1)
        assert not maps[0].bias.any()
    limit = math.sqrt(6 / (96 + 384))  # Xavier
    assert float(found.genes.blocks[0].mlp_in.weight.detach().abs().max()) == pytest.approx(limit, rel=0.01)


@torch.no_grad()
def test_spots_are_independent_and_image_and_step_reach_the_output():
    found, generator = network(), torch.Generator().manual_seed(1)
    x, y = torch.randn(4, 6, generator=generator), torch.randn(4, 5, generator=generator)
    t = torch.tensor([0, 10, 500, 999])
    out = found(x, t, y)
    assert out.shape == (4, 2, 6)
    torch.testing.assert_close(found(x[2:3], t[2:3], y[2:3]), out[2:3])
    for moved in (found(x, t, y + 1), found(x, t - 1, y)):
        assert ((moved - out).abs().amax(dim=(1, 2)) > 1e-3).all()
    torch.testing.assert_close(found.denoise(x, t, found.condition(y)), out)


# --- released weights


@pytest.fixture
def released():
    """Our network and its parameters under released names."""
    ours = network(n_genes=6)
    names = released_names(ours)
    return ours, {names[name]: tensor.clone() for name, tensor in ours.state_dict().items()}


@pytest.mark.parametrize("kind", ["safetensors", "torch", "checkpoint", "parallel"])
def test_released_weights_are_read_from_every_form(released, kind, tmp_path):
    ours, state = released
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pt")
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "torch":
        torch.save(state, path)
    elif kind == "parallel":
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    else:  # as the training script leaves it; the averaged weights are those to sample with
        raw = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
        torch.save({"model": raw, "ema": state, "opt": {"lr": 1.0}, "args": argparse.Namespace(seed=1)}, path)
    other = network(seed=1)
    take_released(other, *released_state(path))
    assert all(torch.equal(tensor, ours.state_dict()[name]) for name, tensor in other.state_dict().items())


def test_released_weights_of_another_panel_are_named(released, tmp_path):
    torch.save(released[1], tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"expected a panel of 9 genes as in this task, found weights for 6 genes") as e:
        take_released(network(n_genes=9), *released_state(tmp_path / "w.pt"))
    assert "w.pt" in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("label_embed.0.bias"), r"1 missing: label_embed\.0\.bias"),
        (lambda state: state.update(extra=torch.zeros(1)), "1 unexpected: extra"),
        (
            lambda state: state.update({"label_embed.0.bias": torch.zeros(9)}),
            r"1 misshapen: label_embed\.0\.bias \(9,\) instead of \(5,\)",
        ),
        (lambda state: state.pop("gene_joint_embed.gene_name_ebd"), "1 missing: gene_joint_embed.gene_name_ebd"),
    ],
)
def test_released_weights_that_do_not_fit_are_named(released, change, said, tmp_path):
    change(released[1])
    torch.save(released[1], tmp_path / "w.pt")
    with pytest.raises(DataError, match=said):
        take_released(network(), *released_state(tmp_path / "w.pt"))


def test_absent_and_damaged_weights_are_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        take_released(network(), *released_state(tmp_path / "absent.pt"))
    (tmp_path / "bad.pt").write_bytes(b"no weights")
    with pytest.raises(DataError, match="unreadable file"):
        take_released(network(), *released_state(tmp_path / "bad.pt"))


def test_a_task_with_released_weights_predicts_without_training(cohort, released, tmp_path):
    torch.save(released[1], tmp_path / "w.pt")
    found = fitted(cohort, settings("official", weights=str(tmp_path / "w.pt")))
    assert torch.equal(found.module_.genes.gene, released[0].genes.gene)
    assert np.isfinite(found.predict(cohort[2], 1, 0)).all()
    found.save(tmp_path / "stem.safetensors")
    (tmp_path / "w.pt").unlink()
    np.testing.assert_array_equal(
        Stem.load(tmp_path / "stem.safetensors").predict(cohort[2], 1, 0), found.predict(cohort[2], 1, 0)
    )


# --- as a method

VARIANTS = {
    "paper": {},
    "official": {"preset": "official"},
    "small": {"preset": "small"},
    "velocity": {"prediction": "velocity"},
    "ddim": {"sampler": "ddim", "steps": "ddim4"},
    "ddim with noise": {"sampler": "ddim", "eta": 0.5},
    "z-scored genes": {"standardize_expression": True},
    "features as they are": {"standardize_features": False},
    "short schedule": {"schedule_steps": 25},
    "one step": {"steps": "1"},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_fits_and_predicts_repeats_saves_and_loads(cohort, changes, tmp_path):
    found = fitted(cohort, settings(**changes))
    predicted = found.predict(cohort[2], 2, 7)
    assert predicted.shape == (2, 30, 6)
    assert predicted.dtype == np.float32
    assert np.isfinite(predicted).all()
    assert (predicted >= 0).all() or not found.settings.clip_negative
    np.testing.assert_array_equal(fitted(cohort, settings(**changes)).predict(cohort[2], 2, 7), predicted)
    found.save(tmp_path / "stem.safetensors")
    np.testing.assert_array_equal(Stem.load(tmp_path / "stem.safetensors").predict(cohort[2], 2, 7), predicted)
    mean = found.predict_mean(cohort[2], 7)
    assert (mean is not None) is (found.settings.prediction == "velocity")
    assert mean is None or (mean.shape == (30, 6) and np.isfinite(mean).all())


def test_it_learns(cohort):
    rules = {"prediction": "velocity", "standardize_expression": True, "lr": 3e-3, "ema": 0.95, "clip": 1.0}
    chosen = settings(**rules, steps="10", accumulate=1)
    found = fitted(cohort, chosen.model_copy(update={"max_updates": 300, "validate_every": 150}))
    (slide,) = cohort[1]
    predicted = found.predict(slide.inputs, 4, 0).mean(axis=0)
    assert mean_gene_correlation(slide.expression, predicted) > 0.6
    assert abs(predicted.mean() - slide.expression.mean()) < 0.5
    assert mean_gene_correlation(slide.expression, found.predict_mean(slide.inputs, 0)) > 0.6


@pytest.mark.parametrize("rules", [{"sampler": "ddpm"}, {"sampler": "ddim", "eta": 0.5}], ids=str)
def test_a_draw_depends_neither_on_their_number_nor_on_the_batch(cohort, rules, monkeypatch):
    found = fitted(cohort, settings(prediction="velocity", **rules))
    many, few = found.predict(cohort[2], 4, 0), found.predict(cohort[2], 2, 0)
    np.testing.assert_array_equal(many[:2], few)
    assert not np.array_equal(many[0], many[1])
    monkeypatch.setattr(method, "_BATCH_VALUES", {"cpu": 1, "cuda": 1})  # every spot on its own
    np.testing.assert_allclose(found.predict(cohort[2], 2, 0), few, atol=1e-4)


def test_a_draw_depends_on_slide_and_seed(cohort):
    found, inputs = fitted(cohort, settings(prediction="velocity")), cohort[2]
    renamed = SlideInputs("S5", None, inputs.features, inputs.xy)
    first = found.predict(inputs, 1, 0)
    assert np.abs(found.predict(renamed, 1, 0) - first).max() > 1e-3
    assert np.abs(found.predict(inputs, 1, 1) - first).max() > 1e-3


def test_a_resumed_fit_equals_an_uninterrupted_one(cohort, tmp_path, monkeypatch):
    chosen = settings().model_copy(update={"max_updates": 6})
    whole = fitted(cohort, chosen).module_.state_dict()
    losses = method.StemObjective.losses

    def interrupted(self, module, index, generator):
        if index >= 9:  # within the fifth update, after the checkpoint of the fourth
            raise RunFailedError("power cut")
        return losses(self, module, index, generator)

    monkeypatch.setattr(method.StemObjective, "losses", interrupted)
    with pytest.raises(RunFailedError, match="power cut"):
        fitted(cohort, chosen, workdir=tmp_path)
    monkeypatch.setattr(method.StemObjective, "losses", losses)
    resumed = fitted(cohort, chosen, workdir=tmp_path, resume=True).module_.state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def objective(cohort, **changes):
    found = Stem(settings(**changes))
    return found._trainer(cohort[0], cohort[1], Context(GENES)).objective


def test_an_epoch_visits_every_spot_once(cohort):
    found = objective(cohort)
    rows = torch.cat([found.rows(index)[:, 0] for index in range(found.epoch_length)])
    assert sorted(rows.tolist()) == list(range(65))
    again = torch.cat([found.rows(index)[:, 0] for index in range(found.epoch_length, 2 * found.epoch_length)])
    assert sorted(again.tolist()) == list(range(65))
    assert again.tolist() != rows.tolist()
    dropped = objective(cohort, last_batch="drop")
    assert dropped.epoch_length == 4
    assert all(len(dropped.rows(index)) == 16 for index in range(8))


def test_fewer_spots_than_a_dropped_batch_are_an_error_not_a_silence(cohort):
    with pytest.raises(SettingError, match="full batch of 256 training spots, found 65"):
        objective(cohort, last_batch="drop", batch_windows=256)
    assert objective(cohort, batch_windows=256).epoch_length == 1


def without(slide, *, gene=None, spot=None):
    expression = slide.expression.copy()
    expression[:, gene if gene is not None else slice(0)] = 0
    expression[spot if spot is not None else slice(0)] = 0
    return LabelledSlide(slide.inputs, expression)


@pytest.mark.parametrize("changes", [{}, {"standardize_expression": True}], ids=str)
def test_a_gene_and_a_spot_without_counts_are_harmless(cohort, changes):
    train = [without(slide, gene=2, spot=3) for slide in cohort[0]]
    found = fitted((train, [without(cohort[1][0], gene=2, spot=0)], cohort[2]), settings(**changes))
    assert np.isfinite(found.predict(cohort[2], 2, 0)).all()


def test_spots_without_counts_are_not_trained_on(cohort):
    train = [without(slide, spot=3) for slide in cohort[0]]
    assert len(objective((train, cohort[1], cohort[2])).expression) == 63
    assert len(objective((train, cohort[1], cohort[2]), drop_empty_spots=False).expression) == 65
    with pytest.raises(DataError, match="training spots with counts in the panel, found none"):
        objective(([without(slide, spot=slice(None)) for slide in cohort[0]], cohort[1], cohort[2]))


def test_nan_while_sampling_names_slide_step_and_setting(cohort):
    found = fitted(cohort, settings())
    with torch.no_grad():
        found.module_.genes.gene[0, 0] = math.nan
    with pytest.raises(RunFailedError) as caught:
        found.predict(cohort[2], 1, 0)
    for said in ("slide S4", "draw 0", "step 1 of 4", "noise level 999 of 1000", "sampler=ddpm", "steps=4"):
        assert said in str(caught.value)


def test_the_estimate_of_its_time_leaves_it_unfitted(cohort):
    found = Stem(settings())
    assert found.estimate_seconds(cohort[0], [cohort[2]], 2, Context(GENES)) > 0
    assert not hasattr(found, "module_")


# --- settings and card


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"steps": "0"}, "stem: steps: .*at least 1 sampling step, found 0"),
        ({"steps": "1001"}, "at most the 1000 steps of the schedule, found 1001"),
        ({"schedule_steps": "100", "steps": "101"}, "at most the 100 steps of the schedule, found 101"),
        ({"validation_steps": "0"}, "stem: validation_steps: .*found 0"),
        ({"steps": "ddim999"}, "whole stride"),
        ({"steps": "1.5"}, "steps"),
        ({"dit_heads": "7"}, "multiple of dit_heads 7"),
    ],
)
def test_settings_that_do_not_fit_are_refused(overrides, said):
    with pytest.raises(SettingError, match=said):
        resolve_settings(CARD, Stem, "paper", overrides)


def test_steps_may_be_given_as_a_number_or_as_text():
    assert [resolve_settings(CARD, Stem, "paper", {"steps": text}).steps for text in ("25", "10,10", "ddim50")] == [
        "25",
        "10,10",
        "ddim50",
    ]


def test_the_card_has_the_presets_and_its_switches_are_settings():
    assert {"paper", "official", "small", "test"} <= CARD.presets.keys()
    switches = {row.switch for row in CARD.differences if row.switch}
    assert switches <= StemSettings.model_fields.keys()
    assert switches >= {"steps", "sampler", "ema_warmup", "standardize_features", "drop_empty_spots", "last_batch"}


def test_as_released_is_what_the_sheet_says():
    official = resolve_settings(CARD, Stem, "official", {})
    assert official.steps == "1000"
    assert official.sampler == "ddpm"
    assert (official.ema, official.ema_warmup, official.weight_decay, official.lr) == (0.9999, False, 0.0, 1e-4)
    assert (official.batch_windows, official.accumulate, official.last_batch) == (256, 1, "drop")
    assert not official.standardize_features
    assert not official.clip_negative


# --- patches through a frozen backbone


class Picture:
    """Patches whose brightness follows the first feature of the spot, brighter at the top."""

    def __init__(self, inputs):
        base = np.clip(128 + 40 * inputs.features[:, :3], 30, 225)
        slope = np.linspace(-30, 30, 16)[:, None, None]
        self.pixels = (base[:, None, None] + slope + np.zeros((16, 1))).astype(np.uint8)

    def batches(self, side, **_):
        assert side == 16
        yield from np.array_split(self.pixels, 3)


PATCHES = {"input": "patches", "backbone": "test_resnet", "backbone_weights": "random", "patch_px": 16}


@pytest.fixture(scope="module")
def pictured(cohort):
    def add(inputs):
        return dataclasses.replace(inputs, patches=Picture(inputs))

    train, validation = ([LabelledSlide(add(s.inputs), s.expression) for s in part] for part in cohort[:2])
    return train, validation, add(cohort[2])


def test_patches_are_read_through_a_backbone_that_is_saved_with_the_method(pictured, tmp_path):
    found = fitted(pictured, settings(**PATCHES))
    before = {name: tensor.clone() for name, tensor in found.module_.backbone.state_dict().items()}
    predicted = found.predict(pictured[2], 2, 0)
    assert np.isfinite(predicted).all()
    blind = dataclasses.replace(pictured[2], features=np.zeros_like(pictured[2].features))
    np.testing.assert_array_equal(found.predict(blind, 2, 0), predicted)  # the cached features are not read
    found.save(tmp_path / "stem.safetensors")
    loaded = Stem.load(tmp_path / "stem.safetensors")
    np.testing.assert_array_equal(loaded.predict(pictured[2], 2, 0), predicted)
    assert all(torch.equal(loaded.module_.backbone.state_dict()[name], value) for name, value in before.items())


def test_views_of_a_spot_are_rows_of_the_training_set_with_its_expression(pictured):
    whole, some, plain = (
        objective(pictured, **PATCHES, **changes) for changes in ({}, {"views": 3}, {"augment": False})
    )
    assert [part.features.shape[:2] for part in (whole, some, plain)] == [(65, 8), (65, 4), (65, 1)]
    rows = torch.cat([whole.rows(index) for index in range(whole.epoch_length)])
    assert len(set(map(tuple, rows.tolist()))) == len(rows) == 65 * 8
    torch.testing.assert_close(whole.features[:, 0], plain.features[:, 0])
    assert float((whole.features[:, 0] - whole.features[:, 1:].mean(dim=1)).abs().max()) > 1e-4
    every = {tuple(vector) for vector in whole.features[0].tolist()}
    assert {tuple(vector) for vector in some.features[0].tolist()} <= every


def test_the_seven_views_and_the_patch_are_the_symmetries_of_the_square():
    patch = torch.arange(16 * 3, dtype=torch.uint8).reshape(1, 4, 4, 3)
    found = {tuple(view(patch, kind).flatten().tolist()) for kind in range(N_VIEWS)} | {tuple(patch.flatten().tolist())}
    assert len(found) == 8
    square = patch[0, :, :, 0].numpy()
    expected = {tuple(np.rot90(part, k).flatten().tolist()) for part in (square, square.T) for k in range(4)}
    assert {tuple(torch.tensor(values).reshape(4, 4, 3)[..., 0].flatten().tolist()) for values in found} == expected


def test_a_task_without_pictures_or_weights_is_refused_with_a_reason(cohort, pictured):
    reason = Stem(settings(**PATCHES)).refuse(cohort[0], [cohort[2]], Context(GENES))
    assert "expected a picture" in reason
    without_weights = Stem(settings(**{**PATCHES, "backbone_weights": None}))
    assert "backbone_weights" in without_weights.refuse(pictured[0], [pictured[2]], Context(GENES))
    assert Stem(settings(**PATCHES)).refuse(pictured[0], [pictured[2]], Context(GENES)) is None
