"""HisToGene on a task of seconds, its positions and tokens, released checkpoints, and its card."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.attention import SDPBackend, sdpa_kernel

from stbench.errors import DataError, SettingError
from stbench.methods.base import Context, LabelledSlide, SlideInputs
from stbench.methods.histogene import HisToGene, load_official
from stbench.methods.histogene.network import HisToGeneNetwork
from stbench.methods.histogene.positions import grid_positions, nearest_seen
from stbench.methods.histogene.released import released_name
from stbench.methods.histogene.settings import HisToGeneSettings
from stbench.methods.registry import find_method, resolve_settings
from stbench.proofs.parity import compare_file
from stbench.training.scores import mean_gene_correlation

CARD = find_method("histogene")
GENES = ("A", "B", "C", "D", "E", "F")
VECTORS = sorted((Path(__file__).parents[1] / "parity" / "histogene").glob("*.safetensors"))
TINY = {"dim": 16, "layers": 2, "heads": 2, "head_dim": 8, "lr": 1e-2, "epochs": 3, "validate_every": 2}
PATCHES = {"input": "patches", "patch_px": 32}
FROZEN = {**PATCHES, "backbone": "test_resnet", "backbone_weights": "random", "backbone_trained": False}
VARIANTS = {
    "features": {},
    "features as they are": {"standardize_features": False},
    "pixels": PATCHES,
    "pixels from 0 to 1, turned": {**PATCHES, "pixel_scale": "unit", "augment": True},
    "trained backbone": {**FROZEN, "backbone_trained": True, "augment": True},
    "frozen backbone": FROZEN,
    "grid of pixels": {"positions": "xy"},
    "balanced": {"position_balance": 0.5},
    "z-scored genes": {"standardize_targets": True},
    "tables as released": {"table_rows": 64, "unseen_positions": "initial"},
    "thinned": {"most_spots": 9},
}


def settings(preset="features", **changes):
    return HisToGeneSettings.model_validate({**CARD.presets[preset], **TINY, **changes})


def fitted(cohort, **changes):
    found = HisToGene(settings(**changes))
    found.fit(cohort[0], cohort[1], Context(GENES))
    return found


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_fits_and_predicts_repeats_saves_and_loads(pictured, changes, tmp_path):
    found = fitted(pictured, **changes)
    assert found.refuse(pictured[0], [pictured[2]], Context(GENES)) is None
    predicted = found.predict(pictured[2], 1, 7)
    assert (predicted.shape, predicted.dtype) == ((1, 30, 6), np.float32)
    assert np.isfinite(predicted).all()
    np.testing.assert_array_equal(fitted(pictured, **changes).predict(pictured[2], 1, 7), predicted)
    found.save(tmp_path / "histogene.safetensors")
    loaded = HisToGene.load(tmp_path / "histogene.safetensors")
    np.testing.assert_array_equal(loaded.predict(pictured[2], 1, 7), predicted)


def test_it_learns(pictured):
    found = fitted(pictured, epochs=100, validate_every=20, dropout=0, position_balance=0.1, standardize_targets=True)
    (slide,) = pictured[1]
    predicted = found.predict(slide.inputs, 1, 0)[0]
    assert mean_gene_correlation(slide.expression, predicted) > 0.6
    assert abs(predicted.mean() - slide.expression.mean()) < 0.5


def test_a_trained_backbone_moves_and_a_frozen_one_does_not(pictured):
    for trained in (True, False):
        found = HisToGene(settings(**{**FROZEN, "backbone_trained": trained}))
        trainer = found._trainer(pictured[0], pictured[1], Context(GENES))
        before = found.module_.image_encoder.model.conv1[0].weight.detach().clone()
        trainer.run()
        assert torch.equal(found.module_.image_encoder.model.conv1[0].weight, before) is not trained


def test_the_estimate_of_its_time_leaves_it_unfitted(pictured):
    found = HisToGene(settings())
    assert found.estimate_seconds(pictured[0], [pictured[2]], 1, Context(GENES)) > 0
    assert not hasattr(found, "module_")


def test_a_slide_of_one_spot(pictured):
    slide = pictured[2]
    one = replace(slide, xy=slide.xy[:1], array_xy=slide.array_xy[:1], features=slide.features[:1])
    for changes in ({}, {"positions": "xy"}):
        assert np.isfinite(fitted(pictured, **changes).predict(one, 1, 0)).all()
    alone = LabelledSlide(one, np.ones((1, 6), np.float32))
    assert np.isfinite(fitted(([alone], pictured[1])).predict(one, 1, 0)).all()


# --- what cannot be read


def test_a_slide_without_array_positions_or_picture_is_refused_by_name(pictured):
    bare = replace(pictured[2], array_xy=None, patches=None)
    context = Context(GENES)
    reason = HisToGene(settings()).refuse(pictured[0], [bare], context)
    assert reason.startswith("slide S4: expected array positions, found none")
    with pytest.raises(DataError, match="slide S4: expected array positions"):
        fitted(pictured).predict(bare, 1, 0)
    assert HisToGene(settings(positions="xy")).refuse(pictured[0], [bare], context) is None
    reason = HisToGene(settings(positions="xy", **PATCHES)).refuse(pictured[0], [bare], context)
    assert reason.startswith("slide S4: expected a picture")
    reason = HisToGene(settings(**{**FROZEN, "backbone_weights": None})).refuse(pictured[0], [pictured[2]], context)
    assert "backbone_weights=random" in reason
    assert "\n" not in reason


def test_features_of_another_width_are_refused(pictured):
    other = replace(pictured[2], features=np.ones((30, 7), np.float32))
    with pytest.raises(DataError, match="slide S4: expected features of width 5 as in training, found 7"):
        fitted(pictured).predict(other, 1, 0)


# --- positions


def slide_at(array, xy=None):
    array = np.array(array, dtype=np.float32)
    xy = array * 100 if xy is None else np.array(xy, dtype=np.float32)
    return SlideInputs("S9", None, np.ones((len(array), 5), np.float32), xy, array_xy=array)


def test_positions_of_the_array_and_of_a_grid_over_the_pixels():
    assert grid_positions(slide_at([[3.2, 7], [4.9, 0]]), "array").tolist() == [[3, 7], [5, 0]]
    xy = [[500, 300], [600, 305], [702, 300], [500, 798]]
    assert grid_positions(slide_at([[0, 0]] * 4, xy), "xy").tolist() == [[0, 0], [1, 0], [2, 0], [0, 5]]
    with pytest.raises(DataError, match="slide S9: expected array positions of 0 or more, found -1"):
        grid_positions(slide_at([[0, -1]]), "array")


def test_the_nearest_seen_position_the_lower_of_two():
    seen = np.array([3, 4, 8])
    assert nearest_seen(np.array([0, 3, 4, 5, 6, 7, 8, 50]), seen).tolist() == [3, 3, 4, 4, 4, 8, 8, 8]


def test_tables_are_as_large_as_training_and_validation_need(pictured):
    found = fitted(pictured)
    assert (found.sizes_["n_x"], found.sizes_["n_y"]) == (9, 9)  # array positions 3-8 and 2-8
    assert found.seen_x_.tolist() == [3, 4, 5, 6, 7, 8]


def test_a_larger_slide_takes_the_nearest_trained_rows(pictured):
    found = fitted(pictured)
    spots = np.ones((2, 5), np.float32)
    far, near = (replace(slide_at(places), features=spots) for places in ([[100, 0], [0, 223]], [[8, 2], [3, 8]]))
    np.testing.assert_array_equal(found.predict(far, 1, 0), found.predict(near, 1, 0))


def test_as_released_a_larger_slide_is_refused_and_untrained_rows_are_used(pictured):
    found = fitted(pictured, table_rows=64, unseen_positions="initial")
    with pytest.raises(DataError, match=r"slide S9: expected y positions below 64.*found 64"):
        found.predict(slide_at([[0, 64]]), 1, 0)
    inside, nearest = found.predict(slide_at([[63, 2]]), 1, 0), found.predict(slide_at([[8, 2]]), 1, 0)
    assert not np.array_equal(inside, nearest)
    with pytest.raises(DataError, match="expected x positions below 5"):
        fitted(pictured, table_rows=5)


@pytest.mark.parametrize("asked", [0.05, 2.0])
def test_positions_spread_as_asked_beside_image_tokens(pictured, asked):
    found = HisToGene(settings(position_balance=asked))
    slides = found._trainer(pictured[0], pictured[1], Context(GENES)).objective.train
    module = found.module_
    with torch.no_grad():
        features = torch.cat([torch.from_numpy(slide.spots) for slide in slides])
        rows = torch.from_numpy(np.concatenate([slide.rows for slide in slides]))
        image = features @ module.patch_embedding.weight.T
        position = module.x_embed.weight[rows[:, 0]] + module.y_embed.weight[rows[:, 1]]
    spread = [float(tokens.var(dim=0, correction=0).mean().sqrt()) for tokens in (position, image)]
    assert spread[0] / spread[1] == pytest.approx(asked, rel=1e-4)
    assert found.balance_ == [asked]


# --- the network


def network(**changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return HisToGeneNetwork(settings(**changes), n_genes=6, n_features=5, n_x=9, n_y=9).eval()


def some_spots(n=12, slides=1):
    generator = torch.Generator().manual_seed(n)
    return torch.randn(slides, n, 5, generator=generator), torch.randint(0, 9, (slides, n, 2), generator=generator)


@torch.no_grad()
def test_spots_have_no_order_of_their_own_and_slides_do_not_talk():
    found, (spots, places) = network(), some_spots(slides=2)
    out = found(spots, places)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found(spots[:, order], places[:, order]), out[:, order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found(spots[1:], places[1:])[0], out[1], atol=1e-5, rtol=1e-5)
    moved = spots.clone()
    moved[0, 3] += 1
    changed = (found(moved, places) - out).abs().amax(dim=2) > 1e-7
    assert changed[0].all()
    assert not changed[1].any()


@torch.no_grad()
def test_attention_equals_the_one_that_stores_all_scores():
    block, x = network().blocks[0], torch.randn(1, 10, 16, generator=torch.Generator().manual_seed(1))
    q, k, v = (part.view(10, 2, 8).transpose(0, 1) for part in block.qkv(x)[0].split(16, dim=1))
    weights = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(8), dim=2)
    expected = (weights @ v).transpose(0, 1).reshape(1, 10, 16)
    torch.testing.assert_close(block._attend(x), expected, atol=1e-5, rtol=1e-5)


def test_attention_never_falls_back_to_storing_the_scores():
    found, (spots, places) = network().train(), some_spots()
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # raises where the blockwise kernel cannot serve
        found(spots, places).square().mean().backward()
    assert found.blocks[0].qkv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("scale", ["raw", "unit"])
def test_patches_embedded_column_by_column_are_those_of_the_whole_map(scale, monkeypatch):
    monkeypatch.setattr("stbench.methods.histogene.network._CHUNK", 7 * 3 * 32 * 5)  # 5 of 32 columns of 7 patches
    torch.manual_seed(0)
    module = HisToGeneNetwork(settings("paper", patch_px=32, pixel_scale=scale), len(GENES), 0, 3, 3)
    patches = torch.randint(256, (1, 7, 32, 32, 3), dtype=torch.uint8)
    layer, values = (
        module.patch_embedding,
        patches[0].transpose(1, 2).flatten(1) * (1 / 255 if scale == "unit" else 1.0),
    )
    found, expected = module.image_tokens(patches)[0], layer(values)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    leaves = [layer.weight, layer.bias]
    for ours, theirs in zip(
        *(torch.autograd.grad(out.square().sum(), leaves) for out in (found, expected)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@torch.no_grad()
def test_pixels_are_flattened_column_by_column():
    found = HisToGeneNetwork(settings(input="patches", patch_px=2), n_genes=6, n_features=0, n_x=9, n_y=9)
    patch = torch.arange(12, dtype=torch.uint8).reshape(1, 1, 2, 2, 3)  # row y, column x, colour
    flat = torch.tensor([0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11.0])
    torch.testing.assert_close(found.image_tokens(patch)[0, 0], found.patch_embedding(flat))
    unit = HisToGeneNetwork(settings(input="patches", patch_px=2, pixel_scale="unit"), 6, 0, 9, 9)
    torch.testing.assert_close(unit.image_tokens(patch)[0, 0], unit.patch_embedding(flat / 255))


COUNTS = [  # fact sheet section 7
    (73_281_512, {"layers": 4}, 1000, 0, 64),
    (106_648_337, {}, 785, 0, 64),
    (72_461_512, {"layers": 4}, 200, 0, 64),
    (34_974_920, {"layers": 4}, 200, 1024, 64),
    (68_562_120, {}, 200, 1024, 64),
]


@pytest.mark.parametrize(("expected", "changes", "genes", "width", "rows"), COUNTS)
def test_the_network_has_the_parameters_of_the_original(expected, changes, genes, width, rows):
    chosen = HisToGeneSettings.model_validate({"input": "features" if width else "patches", **changes})
    with torch.device("meta"):
        found = HisToGeneNetwork(chosen, genes, width, rows, rows)
    assert sum(parameter.numel() for parameter in found.parameters()) == expected


# --- released checkpoints


def released(path=VECTORS[0]):
    tensors = load_file(path)
    return {name.removeprefix("param/"): value for name, value in tensors.items() if name.startswith("param/")}, tensors


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_every_output_equals_the_original(path):
    report = compare_file(path)
    assert [row for row in report.rows if not row.passed] == []
    assert len(report.rows) == sum(name.startswith("output/") for name in load_file(path))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
@pytest.mark.parametrize("suffix", ["", ".safetensors", ".pt"])
def test_a_released_checkpoint_predicts_what_the_original_predicts(path, suffix, tmp_path):
    state, tensors = released(path)
    source = tmp_path / f"released{suffix}" if suffix else state
    if suffix == ".safetensors":
        save_file(state, source)
    elif suffix:
        torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, source)
    found = load_official(source, input="features")
    spots, places = tensors["input/patches"][0].numpy(), tensors["input/centers"][0].numpy().astype(np.float32)
    slide = SlideInputs("S", None, spots, places * 100, array_xy=places)
    np.testing.assert_allclose(found.predict(slide, 1, 0)[0], tensors["output/pred"][0].numpy(), atol=1e-5)
    found.save(tmp_path / "own.safetensors")
    again = HisToGene.load(tmp_path / "own.safetensors")
    np.testing.assert_array_equal(again.predict(slide, 1, 0), found.predict(slide, 1, 0))


def test_a_task_with_released_weights_predicts_without_training(pictured, tmp_path):
    as_released = {"table_rows": 64, "unseen_positions": "initial", "standardize_features": False}
    source = fitted(pictured, **as_released)
    state = {released_name(name): value for name, value in source.module_.state_dict().items()}
    torch.save(state, tmp_path / "released.pt")
    as_released |= {"weights": str(tmp_path / "released.pt")}
    found = fitted(pictured, **as_released)
    np.testing.assert_array_equal(found.predict(pictured[2], 1, 0), source.predict(pictured[2], 1, 0))
    other = [LabelledSlide(slide.inputs, slide.expression[:, 1:]) for slide in pictured[0]]
    with pytest.raises(DataError, match=r"gene_head.1.weight"):
        HisToGene(settings(**as_released)).fit(other, other, Context(GENES[1:]))


def test_a_released_checkpoint_reads_patches_of_its_own_side(pictured):
    state, _ = released()
    found = load_official(state)
    assert (found.settings.input, found.settings.patch_px) == ("patches", 4)
    inside = replace(pictured[2], array_xy=pictured[2].array_xy.clip(0, 7))
    patches = inside.patches.array(4).astype(np.float32)
    flat = load_official(state, input="features").predict(
        replace(inside, features=patches.transpose(0, 2, 1, 3).reshape(30, 48)), 1, 0
    )
    np.testing.assert_allclose(found.predict(inside, 1, 0), flat, atol=1e-4, rtol=1e-4)
    with pytest.raises(DataError, match=r"expected a patch embedding of 3 P.2 inputs, found 10"):
        load_official(state | {"patch_embedding.weight": torch.ones(8, 10)})


def test_every_entry_that_does_not_fit_is_named(tmp_path):
    state, _ = released()
    dropped = [f"vit.transformer.layers.1.{part}" for part in ("0.norm.bias", "0.norm.weight", "1.norm.bias")]
    dropped += ["vit.transformer.layers.1.1.norm.weight", "gene_head.1.bias"]
    odd = {f"odd.{k}": torch.ones(1) for k in range(5)}
    bent = {"vit.transformer.layers.0.0.fn.to_out.0.weight": torch.ones(8, 9), "x_embed.weight": torch.ones(3)}
    broken = {name: value for name, value in {**state, **odd, **bent}.items() if name not in dropped}
    with pytest.raises(DataError) as caught:
        load_official(broken)
    said = str(caught.value)
    assert "\n" not in said
    assert [name for name in (*dropped, *odd, *bent) if name not in said] == []
    assert "5 missing" in said
    assert "5 unexpected" in said
    assert "2 misshapen" in said
    with pytest.raises(DataError, match=r"patch_embedding.weight"):
        load_official({name: value for name, value in state.items() if name != "patch_embedding.weight"})
    (tmp_path / "damaged.pt").write_bytes(b"damaged")
    with pytest.raises(DataError, match="unreadable file"):
        load_official(tmp_path / "damaged.pt")


def test_released_names_are_those_of_the_vectors():
    state, _ = released()
    assert released_name("blocks.1.mlp_out.bias") == "vit.transformer.layers.1.1.fn.net.3.bias"
    assert {released_name(name) for name in load_official(state).module_.state_dict()} == state.keys()


# --- the card


def test_the_card_has_the_presets_and_says_where_paper_and_original_differ():
    assert {"paper", "official", "features", "small", "test"} <= CARD.presets.keys()
    switches = {row.switch for row in CARD.differences if row.switch}
    assert switches <= HisToGeneSettings.model_fields.keys()
    assert switches >= {"layers", "lr", "input", "table_rows", "unseen_positions", "position_balance", "positions"}


def test_defaults_on_the_card_are_those_of_the_settings():
    defaults = HisToGeneSettings().model_dump()
    for row in CARD.differences:
        if row.switch:
            value, said = defaults[row.switch], row.default.split(",")[0]
            assert float(said) == value if isinstance(value, float) else said == str(value).lower(), row.topic


@pytest.mark.parametrize(
    ("overrides", "said"), [({"unseen_positions": "wrap"}, "nearest"), ({"batch_windows": "2"}, "1")]
)
def test_settings_that_do_not_fit_are_refused(overrides, said):
    with pytest.raises(SettingError, match=said):
        resolve_settings(CARD, HisToGene, "paper", overrides)
