"""TRIPLEX on a task of seconds, its input, its released checkpoints and its card."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stbench.data.image import ImageSource, PatchSpec
from stbench.errors import DataError, RunFailedError, SettingError
from stbench.features.patches import SlidePatches
from stbench.methods.base import Context, LabelledSlide, SlideInputs
from stbench.methods.registry import find_method, resolve_settings
from stbench.methods.triplex import Triplex, method
from stbench.methods.triplex.objective import TriplexObjective
from stbench.methods.triplex.released import released_name
from stbench.methods.triplex.settings import TriplexSettings
from stbench.training.scores import mean_gene_correlation

CARD = find_method("triplex")
GENES = ("A", "B", "C", "D", "E", "F")
SMALL = {"emb_dim": 16, "fusion_depth": 1, "global_depth": 2, "neighbour_depth": 1, "fusion_heads": 2}
SMALL |= {"global_heads": 2, "neighbour_heads": 2, "max_updates": 4, "validate_every": 2, "batch_windows": 16}
FEATURES = {"input": "features", "neighbours": "grid"}
PICTURES = {"backbone": "test_resnet", "backbone_weights": "random", "patch_px": 32, "input": "patches"}
PITCH = 20


class Stripes(ImageSource):
    """A picture in memory whose patches are resized by taking every k-th pixel."""

    um_per_px = 1.0

    def __init__(self, width, height, seed):
        self.pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)

    def digest(self):
        return str(int(self.pixels.sum()))

    def size(self):
        return self.pixels.shape[1], self.pixels.shape[0]

    def thumbnail(self, longest_px):
        return self.pixels[::8, ::8]

    def patches(self, spot_ids, xy, spec):
        padded = np.pad(self.pixels, ((200, 200), (200, 200), (0, 0)), constant_values=255)
        for x, y in np.rint(xy).astype(int):
            corner = np.array([y, x]) + 200 - spec.px // 2
            places = np.linspace(0, spec.px - 1, spec.out_px).round().astype(int)
            yield padded[corner[0] + places][:, corner[1] + places]


def labelled(slide_id, seed, columns=6, rows=5, picture=False):
    generator = np.random.default_rng(seed)
    array = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2).astype(np.float32)
    features = generator.normal(size=(len(array), 5)).astype(np.float32)
    xy = array * PITCH + 10
    expression = 3 + features @ np.random.default_rng(99).normal(size=(5, 6))
    patches = None
    if picture:
        image = Stripes(PITCH * columns, PITCH * rows, seed)
        patches = SlidePatches(image, [f"s{k}" for k in range(len(array))], xy, PatchSpec(px=8))
    inputs = SlideInputs(slide_id, None, features, xy, array_xy=array, patches=patches)
    return LabelledSlide(inputs, np.maximum(expression, 0).astype(np.float32))


def settings(preset="paper", **changes):
    return TriplexSettings.model_validate({**CARD.presets[preset], **SMALL, **FEATURES, **changes})


@pytest.fixture(scope="module")
def cohort():
    return [labelled("S1", 1), labelled("S2", 2, 4)], [labelled("S3", 3)], labelled("S4", 4, 7).inputs


@pytest.fixture(scope="module")
def pictures():
    train = [labelled("S1", 1, 3, 3, picture=True), labelled("S2", 2, 4, 2, picture=True)]
    return train, [labelled("S3", 3, 3, 3, picture=True)], labelled("S4", 4, 3, 4, picture=True).inputs


def fitted(cohort, chosen, **context):
    found = Triplex(chosen)
    found.fit(cohort[0], cohort[1], Context(GENES, **context))
    return found


def check_variant(cohort, chosen, folder):
    found = fitted(cohort, chosen)
    predicted = found.predict(cohort[2], 1, 0)
    assert predicted.shape == (1, cohort[2].n_spots, 6)
    assert predicted.dtype == np.float32
    assert np.isfinite(predicted).all()
    assert not chosen.clamp or (predicted >= 0).all()
    np.testing.assert_array_equal(fitted(cohort, chosen).predict(cohort[2], 1, 0), predicted)
    found.save(folder / "triplex.safetensors")
    np.testing.assert_array_equal(Triplex.load(folder / "triplex.safetensors").predict(cohort[2], 1, 0), predicted)


VARIANTS = {
    "paper": {},
    "official": {"preset": "official"},
    "of one slide": {"batch_from": "slide"},
    "genes standardised": {"standardize_genes": True, "clamp": True},
    "labels smoothed": {"smooth_labels": True},
    "features as they are": {"standardize_features": False},
    "features as wide as the tokens": {"emb_dim": 5, "fusion_heads": 1, "global_heads": 1, "neighbour_heads": 1},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_fits_and_predicts_repeats_saves_and_loads(cohort, changes, tmp_path):
    check_variant(cohort, settings(**changes), tmp_path)


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("views", [("patches", "patches"), ("patches", "grid"), ("features", "patches")], ids="-".join)
def test_it_reads_pictures_end_to_end(pictures, views, trained, tmp_path):
    chosen = {**PICTURES, "input": views[0], "neighbours": views[1], "backbone_trained": trained}
    check_variant(pictures, settings(**chosen), tmp_path)


def test_a_trained_backbone_learns_and_a_frozen_one_and_the_extractor_do_not(pictures):
    chosen = settings(**PICTURES, neighbours="patches", max_updates=2)
    start = Triplex(chosen)
    start._build(5, Context(GENES))
    weight = "model.conv1.0.weight"
    for trained in (True, False):
        found = fitted(pictures, chosen.model_copy(update={"backbone_trained": trained})).module_
        same = torch.equal(found.backbone.state_dict()[weight], start.module_.backbone.state_dict()[weight])
        assert same is not trained
        before, after = (network.extractor.state_dict() for network in (start.module_, found))
        assert all(torch.equal(before[name], value) for name, value in after.items())


def test_pictures_need_no_features_and_no_array(pictures):
    def bare(slide):
        return replace(slide, features=slide.features[:, :0], array_xy=None)

    train, validation = ([LabelledSlide(bare(s.inputs), s.expression) for s in part] for part in pictures[:2])
    chosen = settings(**PICTURES, neighbours="patches", positions="pixels", preset="official")
    found = fitted((train, validation), chosen)
    assert found.predict(bare(pictures[2]), 1, 0).shape == (1, 12, 6)


def test_tiles_beyond_the_picture_are_masked_and_nothing_else(pictures):
    found = Triplex(settings(**PICTURES, neighbours="patches"))
    found._build(5, Context(GENES))
    _, mask = found._cut(pictures[0][0].inputs)  # spots at 10, 30 and 50 of 60 pixels, tiles of 8
    corner, middle = mask[0].reshape(5, 5), mask[4]
    assert middle.all()
    assert corner[2:, 2:].all()
    assert not corner[:1].any()
    assert corner[1, 1:].all() == (10 >= 1.5 * 8)


def test_it_learns(cohort):
    chosen = settings(standardize_genes=True, lr=3e-3, max_updates=80, validate_every=40, neighbour_dropout=0)
    found = fitted(cohort, chosen)
    (slide,) = cohort[1]
    predicted = found.predict(slide.inputs, 1, 0)[0]
    assert mean_gene_correlation(slide.expression, predicted) > 0.6
    assert abs(predicted.mean() - slide.expression.mean()) < 0.5


def test_another_seed_gives_another_result(cohort):
    first, second = (fitted(cohort, settings(), seed=seed).predict(cohort[2], 1, 0) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_a_prediction_does_not_depend_on_the_chunks(cohort, monkeypatch):
    found = fitted(cohort, settings())
    whole = found.predict(cohort[2], 1, 0)
    monkeypatch.setattr(method, "_CHUNK", {"features": 3})
    np.testing.assert_allclose(found.predict(cohort[2], 1, 0), whole, atol=1e-5)


def test_recomputed_slides_give_the_same_gradients(cohort, monkeypatch):
    def gradients():
        found = Triplex(settings())
        objective = found._trainer(cohort[0], cohort[1], Context(GENES)).objective
        objective.losses(found.module_.eval(), 0, torch.Generator())["total"].backward()
        return {name: value.grad for name, value in found.module_.named_parameters()}

    kept = gradients()
    monkeypatch.setattr("stbench.methods.triplex.objective._RECOMPUTED", 0)
    for name, value in gradients().items():
        torch.testing.assert_close(value, kept[name])


def test_a_resumed_fit_equals_an_uninterrupted_one(cohort, tmp_path, monkeypatch):
    chosen = settings(max_updates=6)
    whole = fitted(cohort, chosen).module_.state_dict()
    losses = TriplexObjective.losses

    def interrupted(self, module, index, generator):
        if index >= 5:
            raise RunFailedError("power cut")
        return losses(self, module, index, generator)

    monkeypatch.setattr(TriplexObjective, "losses", interrupted)
    with pytest.raises(RunFailedError):
        fitted(cohort, chosen, workdir=tmp_path)
    monkeypatch.setattr(TriplexObjective, "losses", losses)
    resumed = fitted(cohort, chosen, workdir=tmp_path, resume=True).module_.state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


@pytest.mark.parametrize("views", [FEATURES, {**PICTURES, "neighbours": "patches"}], ids=["features", "pictures"])
def test_the_estimate_of_its_time_leaves_it_unfitted(pictures, views):
    found = Triplex(settings(**views))
    assert found.estimate_seconds(pictures[0], [pictures[2]], 1, Context(GENES)) > 0
    assert not hasattr(found, "module_")


# --- bad input


def test_fewer_spots_than_the_batch_and_slides_of_one_spot(cohort):
    def first(slide, n):
        inputs = slide.inputs
        kept = {name: getattr(inputs, name)[:n] for name in ("features", "xy", "array_xy")}
        return LabelledSlide(replace(inputs, **kept), slide.expression[:n])

    train = [first(cohort[0][0], 4), first(cohort[0][1], 1)]
    found = fitted((train, cohort[1]), settings(batch_windows=128))
    assert found.predict(first(cohort[1][0], 1).inputs, 1, 0).shape == (1, 1, 6)


def test_a_spot_without_neighbours_is_predicted(cohort):
    array = cohort[2].array_xy.copy()
    array[0] = (90, 90)
    predicted = fitted(cohort, settings()).predict(replace(cohort[2], array_xy=array), 1, 0)
    assert np.isfinite(predicted).all()


LACKING = {
    "no array": ({}, {"array_xy": None}, "slide S4: expected array coordinates for neighbours=grid"),
    "no array for positions": (
        {**PICTURES, "neighbours": "patches"},
        {"array_xy": None},
        "expected array coordinates.*--set neighbours=patches --set positions=pixels",
    ),
    "no features": ({}, {"features": np.empty((12, 0), np.float32)}, "slide S4: expected image features, found none"),
    "no picture": ({**PICTURES, "neighbours": "grid"}, {"patches": None}, "input=patches, found none; --set input=f"),
    "no tiles": (PICTURES | {"input": "features", "neighbours": "patches"}, {"patches": None}, "--set neighbours=grid"),
}


@pytest.mark.parametrize(("views", "changes", "said"), LACKING.values(), ids=LACKING)
def test_a_slide_that_lacks_something_is_refused_in_one_line(pictures, views, changes, said):
    found, slide = Triplex(settings(**views)), replace(pictures[2], **changes)
    reason = found.refuse(pictures[0], [slide], Context(GENES))
    with pytest.raises(DataError, match=said):
        found._view(slide)
    assert "\n" not in reason


def test_pictures_without_weights_are_refused(pictures):
    found = Triplex(settings(input="patches", backbone_weights=None))
    assert "backbone_weights" in found.refuse(pictures[0], [pictures[2]], Context(GENES))
    with pytest.raises(SettingError, match="backbone_weights=FILE"):
        found.fit(pictures[0], pictures[1], Context(GENES))


def test_patches_of_a_side_the_backbone_cannot_take_are_refused(pictures):
    chosen = settings(**PICTURES | {"backbone": "vit_tiny_patch16_224"}, neighbours="grid")
    with pytest.raises(SettingError, match="expected patches of 224 px, found 32"):
        fitted(pictures, chosen)


def test_stored_patches_do_not_reach_far_enough(pictures, monkeypatch):
    monkeypatch.setattr(Stripes, "size", lambda self: None)
    found = Triplex(settings(**PICTURES, neighbours="patches"))
    assert "expected a whole picture" in found.refuse(pictures[0], [pictures[2]], Context(GENES))


def test_features_of_another_width_than_in_training_are_refused(cohort):
    wider = replace(cohort[2], features=np.zeros((cohort[2].n_spots, 9), np.float32))
    with pytest.raises(DataError, match="slide S4: expected features 5 wide, as in training, found 9"):
        fitted(cohort, settings()).predict(wider, 1, 0)


# --- released checkpoints

WIDE = {"emb_dim": 5, "fusion_heads": 1, "global_heads": 1, "neighbour_heads": 1}


def test_a_released_checkpoint_predicts_without_training(cohort, tmp_path):
    source = fitted(cohort, settings("official", **WIDE), seed=5)
    state = {released_name(name): value for name, value in source.module_.state_dict().items()}
    save_file(state, tmp_path / "triplex.safetensors")
    found = fitted(cohort, settings("official", **WIDE, weights=str(tmp_path / "triplex.safetensors")))
    np.testing.assert_array_equal(found.predict(cohort[2], 1, 0), source.predict(cohort[2], 1, 0))


def test_a_checkpoint_of_other_features_is_refused(cohort, tmp_path):
    save_file({"x": torch.ones(1)}, tmp_path / "any.safetensors")
    with pytest.raises(DataError, match=r"expected features 16 wide .* found 5"):
        fitted(cohort, settings("official", weights=str(tmp_path / "any.safetensors")))


# --- settings and card


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"global_heads": "7"}, "emb_dim 512 must be a multiple of global_heads 7"),
        ({"kernel": "4"}, "kernel 4 must be odd"),
        ({"global_depth": "1"}, "global_depth"),
        ({"alpha": "2"}, "alpha"),
    ],
)
def test_settings_that_do_not_fit_are_refused(overrides, said):
    with pytest.raises(SettingError, match=said):
        resolve_settings(CARD, Triplex, "paper", overrides)


def test_the_card_has_the_presets_and_every_switch():
    assert {"paper", "official", "small", "test"} <= CARD.presets.keys()
    switches = {row.switch for row in CARD.differences if row.switch}
    assert switches <= TriplexSettings.model_fields.keys()
    assert switches >= {
        *(
            "positions",
            "position_residual",
            "clamp",
            "smooth_labels",
            "attention_dropout",
            "neighbours",
            "weight_decay",
        ),
        *("standardize_features", "emb_dim", "batch_from", "schedule", "epochs", "input", "weights"),
    }
    for preset in CARD.presets:
        assert not resolve_settings(CARD, Triplex, preset, {}).smooth_labels
