"""BLEEP on a task of seconds: loss, bank, retrieval, released checkpoints, and its card."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stbench.errors import DataError, RunFailedError, SettingError
from stbench.methods.base import Context, LabelledSlide
from stbench.methods.bleep import Bleep, load_official
from stbench.methods.bleep.losses import contrastive_loss, logits, soft_targets
from stbench.methods.bleep.network import BleepNetwork
from stbench.methods.bleep.pairs import Pairs
from stbench.methods.bleep.retrieval import predict_from, retrieve
from stbench.methods.bleep.settings import BleepSettings
from stbench.methods.registry import find_method, resolve_settings
from stbench.proofs.parity import compare_file
from stbench.proofs.parity.reference import read_reference
from stbench.training.scores import mean_gene_correlation

CARD = find_method("bleep")
GENES = ("A", "B", "C", "D", "E", "F")
VECTORS = sorted((Path(__file__).parents[1] / "parity" / "bleep").glob("*.safetensors"))
TINY = {"projection_dim": 8, "batch": 16, "k": 4, "accumulate": 1, "epochs": 2, "validate_every": 2}
PATCHES = {"input": "patches", "patch_px": 32, "backbone": "test_resnet", "backbone_weights": "random"}
VARIANTS = {
    "features": {},
    "features as they are": {"standardize_features": False},
    "trained backbone": PATCHES,
    "pixels as released": {**PATCHES, "pixels": "raw-bgr", "augment": False},
    "frozen backbone": {**PATCHES, "backbone_trained": False},
    "best spot": {"retrieval": "simple"},
    "weighted": {"retrieval": "weighted_average", "k": 10},
    "chosen by PCC": {"select_by": "pcc"},
    "one-hot targets": {"targets": "one-hot"},
    "temperature": {"temperature": 2.0, "target_temperature": "multiply"},
    "four losses an update": {"accumulate": 4},
    "batch larger than training": {"batch": 1000},
    "bank smaller than k": {"k": 1000},
}


def settings(preset="features", **changes):
    return BleepSettings.model_validate({**CARD.presets[preset], **TINY, **changes})


def fitted(cohort, **changes):
    found = Bleep(settings(**changes))
    found.fit(cohort[0], cohort[1], Context(GENES))
    return found


def bank_of(train):
    return np.concatenate([slide.expression for slide in train])


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_fits_and_predicts_repeats_saves_and_loads(pictured, changes, tmp_path):
    found = fitted(pictured, **changes)
    assert found.refuse(pictured[0], [pictured[2]], Context(GENES)) is None
    predicted = found.predict(pictured[2], 1, 7)
    assert (predicted.shape, predicted.dtype) == ((1, 30, 6), np.float32)
    bank = bank_of(pictured[0])
    assert (predicted >= bank.min(axis=0) - 1e-5).all()
    assert (predicted <= bank.max(axis=0) + 1e-5).all()
    np.testing.assert_array_equal(fitted(pictured, **changes).predict(pictured[2], 1, 7), predicted)
    found.save(tmp_path / "bleep.safetensors")
    loaded = Bleep.load(tmp_path / "bleep.safetensors")
    np.testing.assert_array_equal(loaded.predict(pictured[2], 1, 7), predicted)


def test_it_learns(cohort):
    found = fitted(cohort, epochs=100, validate_every=20, dropout=0, projection_dim=32, select_by="pcc")
    (slide,) = cohort[1]
    assert mean_gene_correlation(slide.expression, found.predict(slide.inputs, 1, 0)[0]) > 0.6


@pytest.mark.parametrize("trained", [True, False])
def test_a_trained_backbone_moves_and_a_frozen_one_does_not(pictured, trained):
    found = Bleep(settings(**{**PATCHES, "backbone_trained": trained}))
    trainer = found._trainer(pictured[0], pictured[1], Context(GENES))
    before = found.module_.image_encoder.model.conv1[0].weight.detach().clone()
    trainer.run()
    assert torch.equal(found.module_.image_encoder.model.conv1[0].weight, before) is not trained


def test_the_estimate_of_its_time_leaves_it_unfitted(cohort):
    found = Bleep(settings())
    assert found.estimate_seconds(cohort[0], [cohort[2]], 1, Context(GENES)) > 0
    assert not hasattr(found, "module_")


# --- bank and bad input


def test_the_bank_is_the_training_spots_and_nothing_else(cohort):
    found = fitted(cohort, select_by="pcc")
    np.testing.assert_array_equal(found.bank_expression_, bank_of(cohort[0]))
    assert found.bank_slides_ == ["S1", "S2"]
    with torch.no_grad():
        embedded = found.module_.embed_spots(torch.from_numpy(found.bank_expression_))
    np.testing.assert_allclose(found.bank_embeddings_, embedded.numpy(), atol=1e-5)


def test_with_k_of_the_whole_bank_every_prediction_is_the_training_mean(cohort):
    found = fitted(cohort, k=1000).predict(cohort[2], 1, 0)[0]
    np.testing.assert_allclose(found, np.broadcast_to(bank_of(cohort[0]).mean(axis=0), found.shape), atol=1e-5)


def test_a_slide_of_one_spot_and_a_bank_of_two(cohort):
    one = replace(cohort[2], xy=cohort[2].xy[:1], features=cohort[2].features[:1])
    assert fitted(cohort).predict(one, 1, 0).shape == (1, 1, 6)
    slide = cohort[0][0]
    inputs = replace(slide.inputs, xy=slide.inputs.xy[:2], features=slide.inputs.features[:2])
    two = LabelledSlide(inputs, slide.expression[:2])
    assert np.isfinite(fitted(([two], cohort[1])).predict(one, 1, 0)).all()
    single = LabelledSlide(replace(inputs, xy=inputs.xy[:1], features=inputs.features[:1]), slide.expression[:1])
    assert "at least 2 training spots" in Bleep(settings()).refuse([single], [one], Context(GENES))


def test_what_cannot_be_read_is_refused_in_one_line(pictured):
    bare, context = replace(pictured[2], patches=None), Context(GENES)
    reason = Bleep(settings(**PATCHES)).refuse(pictured[0], [bare], context)
    assert reason.startswith("slide S4: expected a picture")
    reason = Bleep(settings(**{**PATCHES, "backbone_weights": None})).refuse(pictured[0], [pictured[2]], context)
    assert "backbone_weights=random" in reason
    other = replace(pictured[2], features=np.ones((30, 7), np.float32))
    with pytest.raises(DataError, match="slide S4: expected features of width 5 as in training, found 7"):
        fitted(pictured).predict(other, 1, 0)


def test_pairs_stay_together_and_each_is_seen_once_a_pass():
    parts = [np.arange(0, 7.0), np.arange(10, 15.0)]
    spots, expression = ([np.stack([part * factor] * 2, axis=1) for part in parts] for factor in (1, 100))
    pairs = Pairs(spots, expression, 4)
    assert (pairs.size, pairs.n_batches) == (4, 3)
    first, second = pairs.order(0, 0), pairs.order(0, 1)
    assert not np.array_equal(first, second)
    batches = [pairs.batch(first, place) for place in range(3)]
    for some, targets in batches:
        np.testing.assert_array_equal(some * 100, targets)
    assert sorted(np.concatenate([some[:, 0] for some, _ in batches])) == sorted(np.concatenate(parts))
    assert Pairs(spots, expression, 100).size == 12


# --- loss


def embeddings(n=5, d=4):
    generator = torch.Generator().manual_seed(n)
    return (torch.randn(n, d, generator=generator, requires_grad=True) for _ in range(2))


def total(image, spot, temperature=1.0, factor=1.0):
    return contrastive_loss(logits(image, spot, temperature), soft_targets(image, spot, factor))


def test_the_loss_is_the_sum_written_out():
    image, spot = (part.detach().double().numpy() for part in embeddings())
    temperature, n = 0.7, len(image)

    def row_softmax(x):
        return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)

    similarity = spot @ image.T / temperature
    targets = row_softmax((image @ image.T + spot @ spot.T) / 2 / temperature)
    rows, columns = np.log(row_softmax(similarity)), np.log(row_softmax(similarity.T)).T
    expected = -sum(targets[i, j] * (rows[i, j] + columns[i, j]) for i in range(n) for j in range(n)) / (2 * n)
    found = total(*(torch.from_numpy(part) for part in (image, spot)), temperature, 1 / temperature)
    assert float(found) == pytest.approx(expected)


def test_gradients_flow_through_the_targets_and_lengths_count():
    image, spot = embeddings()
    total(image, spot).backward()
    attached = image.grad.clone()
    image.grad = None
    contrastive_loss(logits(image, spot, 1.0), soft_targets(image, spot, 1.0).detach()).backward()
    assert not torch.allclose(attached, image.grad)
    assert not torch.isclose(total(image, spot), total(2 * image, 2 * spot))


def test_the_objective_is_that_loss(cohort):
    found = Bleep(settings(temperature=2.0, dropout=0.0))
    trainer = found._trainer(cohort[0], cohort[1], Context(GENES))
    pairs = trainer.objective.pairs
    spots, expression = pairs.batch(pairs.order(0, 0), 1)
    image, spot = found.module_(torch.from_numpy(spots), torch.from_numpy(expression))
    terms = trainer.objective.losses(found.module_, 1, torch.Generator())
    torch.testing.assert_close(terms["total"], total(image, spot, 2.0, 0.5))


# --- retrieval


def brute_force(query, bank, k):
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (query.astype(float), bank.astype(float))]
    return np.argsort(-(unit[0] @ unit[1].T), axis=1)[:, :k]


@pytest.mark.parametrize(("queries", "keys"), [(1024, 2**16), (3, 5), (1, 1), (7, 11)])
@pytest.mark.parametrize("k", [1, 6, 23, 100])
def test_chunks_find_what_a_full_search_finds(queries, keys, k):
    generator = np.random.default_rng(0)
    query, bank = (generator.normal(size=(n, 8)).astype(np.float32) for n in (7, 23))
    found = retrieve(query, bank, k, queries=queries, keys=keys)
    np.testing.assert_array_equal(found.numpy(), brute_force(query, bank, min(k, 23)))
    np.testing.assert_array_equal(retrieve(query[:1], bank, k, keys=keys).numpy(), found[:1].numpy())


def test_the_search_ignores_lengths_and_the_weights_do_not():
    query, bank = np.array([[1.0, 0.0]], np.float32), np.array([[9.0, 0.1], [1.0, 0.5], [1.0, 0.6]], np.float32)
    rows = retrieve(query, bank, 2)
    assert rows.tolist() == [[0, 1]]
    expression = np.array([[0.0, 4.0], [8.0, 4.0], [1.0, 1.0]], np.float32)
    assert predict_from(query, bank, expression, rows, "simple").tolist() == [[0, 4]]
    assert predict_from(query, bank, expression, rows, "average").tolist() == [[4, 4]]
    weights = np.exp([-(8.0**2 + 0.1**2), -(0.5**2)])
    expected = 8 * weights[1] / weights.sum()
    np.testing.assert_allclose(predict_from(query, bank, expression, rows, "weighted_average"), [[expected, 4]])


def test_weights_of_far_neighbours_do_not_vanish():
    bank, expression = np.full((2, 256), 40, np.float32), np.array([[2.0], [4.0]], np.float32)
    found = predict_from(-bank[:1], bank, expression, torch.tensor([[0, 1]]), "weighted_average")
    np.testing.assert_allclose(found, [[3.0]])


# --- released checkpoints


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_every_output_equals_the_original(path):
    report = compare_file(path)
    assert [row for row in report.rows if not row.passed] == []
    assert len(report.rows) == sum(name.startswith("output/") for name in load_file(path))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_released_checkpoint_predicts_what_the_original_predicts(path, cohort, tmp_path):
    reference = read_reference(path)
    save_file(reference.params, tmp_path / "released.safetensors")
    found = load_official(tmp_path / "released.safetensors")
    n_bank = len(reference.input("bank_expression"))
    inputs = replace(cohort[2], xy=np.zeros((n_bank, 2), np.float32))
    slide = replace(inputs, features=reference.input("query_features").numpy())
    with pytest.raises(RunFailedError, match="call fill_bank"):
        found.predict(slide, 1, 0)
    found.fill_bank([LabelledSlide(inputs, reference.input("bank_expression").numpy())])
    for how in ("simple", "average", "weighted_average"):
        found.settings = found.settings.model_copy(update={"k": reference.setting("top_k"), "retrieval": how})
        expected = reference.outputs[f"retrieval/{how}"].numpy()
        np.testing.assert_allclose(found.predict(slide, 1, 0)[0], expected, atol=1e-5)
    found.save(tmp_path / "own.safetensors")
    again = Bleep.load(tmp_path / "own.safetensors")
    np.testing.assert_array_equal(again.predict(slide, 1, 0), found.predict(slide, 1, 0))


def test_a_released_checkpoint_with_an_image_encoder_reads_patches(pictured, tmp_path):
    source = fitted(pictured, **PATCHES, pixels="raw-bgr")
    state = {f"module.{name}": value for name, value in source.module_.state_dict().items()}
    torch.save(state, tmp_path / "released.pt")
    found = load_official(tmp_path / "released.pt", backbone="test_resnet")
    found.settings = found.settings.model_copy(update={"patch_px": 32, "k": 4})
    found.fill_bank(pictured[0])
    np.testing.assert_allclose(found.predict(pictured[2], 1, 0), source.predict(pictured[2], 1, 0), atol=1e-5)


@pytest.mark.parametrize("preset", ["official", "features"])
def test_a_task_with_released_weights_predicts_without_training(preset, pictured, tmp_path):
    read = {**PATCHES, "pixels": "raw-bgr"} if preset == "official" else {"standardize_features": False}
    source = fitted(pictured, preset=preset, **read)
    torch.save(source.module_.state_dict(), tmp_path / "released.pt")
    read |= {"weights": str(tmp_path / "released.pt")} | ({"backbone_weights": None} if preset == "official" else {})
    found = fitted(pictured, preset=preset, **read)
    assert found.refuse(pictured[0], [pictured[2]], Context(GENES)) is None
    np.testing.assert_array_equal(found.bank_expression_, bank_of(pictured[0]))
    np.testing.assert_allclose(found.predict(pictured[2], 1, 0), source.predict(pictured[2], 1, 0), atol=1e-5)
    other = [LabelledSlide(slide.inputs, slide.expression[:, 1:]) for slide in pictured[0]]
    with pytest.raises(DataError, match=r"spot_projection.projection.weight"):
        Bleep(settings(preset, **read)).fit(other, other, Context(GENES[1:]))


def test_every_entry_that_does_not_fit_is_named():
    state = read_reference(VECTORS[0]).params
    dropped = [f"spot_projection.{part}" for part in ("fc.bias", "fc.weight", "layer_norm.bias", "layer_norm.weight")]
    odd = {f"odd.{k}": torch.ones(1) for k in range(5)}
    bent = {"image_projection.fc.weight": torch.ones(3, 3)}
    broken = {name: value for name, value in {**state, **odd, **bent}.items() if name not in dropped}
    with pytest.raises(DataError) as caught:
        load_official(broken)
    said = str(caught.value)
    assert "\n" not in said
    assert [name for name in (*dropped, *odd, *bent) if name not in said] == []
    with pytest.raises(DataError, match=r"1 missing: spot_projection.projection.weight"):
        load_official({name: value for name, value in state.items() if name != "spot_projection.projection.weight"})


def test_files_of_other_sizes_pass_without_a_change(tmp_path):
    reference = read_reference(VECTORS[1])
    cut = {name: value for name, value in reference.tensors.items() if not name.startswith("output/")}
    cut["input/bank_expression"] = cut["input/bank_expression"][:5]  # smaller than k
    outputs = {
        "output/bank_embeddings": reference.outputs["bank_embeddings"][:5],
        "output/loss": reference.outputs["loss"],
    }
    metadata = {"method": "bleep", "component": "model", "config": json.dumps(reference.config)}
    save_file({**cut, **outputs}, tmp_path / "cut.safetensors", metadata=metadata)
    assert compare_file(tmp_path / "cut.safetensors").passed


COUNTS = [(408_064, 1024, 50), (446_464, 1024, 200), (600_064, 1024, 800), (708_608, 2048, 200)]  # sheet, section 7


@pytest.mark.parametrize(("expected", "width", "genes"), COUNTS)
def test_the_heads_have_the_parameters_of_the_original(expected, width, genes):
    found = BleepNetwork(BleepSettings(input="features"), genes, width)
    assert sum(parameter.numel() for parameter in found.parameters()) == expected


def test_the_whole_network_has_the_parameters_of_the_original():
    with torch.device("meta"):
        found = BleepNetwork(BleepSettings(), 3467, 0)
    assert sum(parameter.numel() for parameter in found.parameters()) == 25_052_992


# --- the card


def test_the_card_has_the_presets_and_says_where_paper_and_original_differ():
    assert {"paper", "official", "features", "small", "test"} <= CARD.presets.keys()
    switches = {row.switch for row in CARD.differences if row.switch}
    assert switches <= BleepSettings.model_fields.keys()
    assert switches >= {"input", "k", "retrieval", "target_temperature", "pixels", "batch", "accumulate", "select_by"}


def test_defaults_on_the_card_are_those_of_the_settings():
    defaults = BleepSettings().model_dump()
    for row in CARD.differences:
        if row.switch:
            value, said = defaults[row.switch], row.default.split(",")[0]
            assert float(said) == value if isinstance(value, float) else said == str(value).lower(), row.topic


@pytest.mark.parametrize(("overrides", "said"), [({"retrieval": "median"}, "weighted_average"), ({"batch": "1"}, "2")])
def test_settings_that_do_not_fit_are_refused(overrides, said):
    with pytest.raises(SettingError, match=said):
        resolve_settings(CARD, Bleep, "paper", overrides)
