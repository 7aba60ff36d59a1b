"""Patch encoders that belong to a method."""

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stbench.data.image import ImageSource, PatchSpec
from stbench.errors import DataError, SettingError, UnknownNameError
from stbench.features.patches import SlidePatches
from stbench.methods.nn.backbone import Backbone, augmented, make_backbone
from stbench.training.settings import TrainingSettings
from stbench.training.stepper import Stepper

SIDE = 64


def patches(n, seed=0):
    return torch.randint(0, 256, (n, SIDE, SIDE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def backbone(architecture="test_resnet", **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Backbone(architecture, **{"trained": True, **options})


def test_patches_are_normalised_by_the_record_of_the_architecture():
    found, some = backbone().eval(), patches(3)
    record = found.model.pretrained_cfg
    images = (some.numpy() / 255 - record["mean"]) / record["std"]
    expected = found.model(torch.from_numpy(images).float().permute(0, 3, 1, 2))
    torch.testing.assert_close(found(some), expected, atol=1e-5, rtol=1e-5)


def test_raw_patches_are_as_they_are_and_bgr_swaps_red_and_blue():
    raw, bgr, some = backbone(pixels="raw").eval(), backbone(pixels="raw-bgr").eval(), patches(3)
    torch.testing.assert_close(raw(some), raw.model(some.permute(0, 3, 1, 2).float()))
    torch.testing.assert_close(bgr(some), raw(some.flip(3)))
    assert not torch.allclose(bgr(some), raw(some))


@pytest.mark.parametrize(("architecture", "side", "places"), [("test_resnet", 64, 4), ("test_vit", 160, 100)])
def test_tokens_are_the_places_before_pooling(architecture, side, places):
    found = backbone(architecture).eval()
    some = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8)
    assert found.tokens(some).shape == (2, places, found.dim)
    if architecture == "test_resnet":
        torch.testing.assert_close(found.tokens(some).mean(dim=1), found(some), atol=1e-5, rtol=1e-5)


def test_a_frozen_network_has_no_gradient_and_keeps_its_statistics():
    found = backbone(trained=False).train()
    before = copy.deepcopy(found.state_dict())
    assert not found.training
    assert not found(patches(4)).requires_grad
    assert all(torch.equal(value, before[name]) for name, value in found.state_dict().items())
    assert not any(parameter.requires_grad for parameter in found.parameters())


def test_chunks_give_the_same_vectors_gradients_and_statistics():
    chunked, plain, some = backbone().train(), backbone().train(), patches(10)
    found = chunked.in_chunks(some, 5)
    expected = torch.cat([plain(some[:5]), plain(some[5:])])
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    for (name, ours), theirs in zip(chunked.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=name)
    for (name, ours), theirs in zip(chunked.named_buffers(), plain.buffers(), strict=True):
        if name.endswith(("running_mean", "running_var")):
            torch.testing.assert_close(ours, theirs, msg=name)
    with torch.no_grad():
        torch.testing.assert_close(chunked.eval().in_chunks(some, 3), chunked(some), atol=1e-5, rtol=1e-5)


class Noise(ImageSource):
    um_per_px = 1.0

    def digest(self):
        return "noise"

    def size(self):
        return None

    def thumbnail(self, longest_px):
        return np.zeros((4, 4, 3), dtype=np.uint8)

    def patches(self, spot_ids, xy, spec):
        for spot in spot_ids:
            yield patches(1, int(spot))[0].numpy()


def test_a_slide_is_encoded_spot_by_spot():
    found = backbone(trained=False)
    slide = SlidePatches(Noise(), [str(k) for k in range(70)], np.zeros((70, 2), np.float32), PatchSpec(px=64))
    vectors = found.encode(slide, SIDE)
    assert (vectors.shape, vectors.dtype) == ((70, found.dim), np.float32)
    np.testing.assert_allclose(vectors[66], found(patches(1, 66))[0].numpy(), atol=1e-5)


def test_an_average_of_weights_copies_the_counters_of_batch_normalisation():
    found = backbone().train()
    stepper = Stepper(found, torch.optim.AdamW(found.parameters()), TrainingSettings(accumulate=1))
    start = found.model.conv1[0].weight.detach().clone()
    for _ in range(2):
        stepper.micro_step(found(patches(4)).square().mean())
    counters = [value for name, value in stepper.averaged.state_dict().items() if name.endswith("tracked")]
    assert counters
    assert {int(counter) for counter in counters} == {2}
    average, now = stepper.averaged.model.conv1[0].weight, found.model.conv1[0].weight
    assert 0 < float((average - start).abs().max().detach()) < float((now - start).abs().max().detach())


# --- weights


def test_weights_come_from_a_local_file_and_every_entry_must_fit(tmp_path):
    source, file = backbone(), tmp_path / "weights.safetensors"
    state = source.model.state_dict()
    save_file(state | {"fc.weight": torch.ones(3, source.dim), "fc.bias": torch.ones(3)}, file)
    loaded = make_backbone("test_resnet", str(file), trained=False, side=SIDE, pixels="standard")
    torch.testing.assert_close(loaded(patches(2)), source.eval()(patches(2)))
    name = next(iter(state))
    save_file({key: value for key, value in state.items() if key != name} | {"odd": torch.ones(1)}, file)
    with pytest.raises(DataError, match=rf"1 missing: {name}; 1 unexpected: odd"):
        make_backbone("test_resnet", str(file), trained=False, side=SIDE, pixels="standard")
    with pytest.raises(DataError, match="no such file"):
        make_backbone("test_resnet", str(tmp_path / "absent"), trained=False, side=SIDE, pixels="standard")


def test_random_weights_must_be_asked_for():
    with pytest.raises(SettingError, match="backbone_weights=random"):
        make_backbone("test_resnet", None, trained=True, side=SIDE, pixels="standard")
    assert make_backbone("test_resnet", "random", trained=True, side=SIDE, pixels="standard").dim == 96


@pytest.mark.parametrize("name", ["test_resnett", "hf-hub:someone/model", "hf_hub:someone/model"])
def test_an_unknown_architecture_is_refused_before_anything_is_fetched(name):
    with pytest.raises(UnknownNameError, match="timm architecture"):
        Backbone(name, trained=True)


def test_an_architecture_with_a_fixed_side_refuses_others():
    with pytest.raises(SettingError, match="expected patches of 160 px, found 64"):
        make_backbone("test_vit", "random", trained=True, side=64, pixels="standard")


# --- augmentation


def test_a_patch_is_turned_into_each_of_its_eight_symmetries_alike():
    square = torch.arange(4 * 4 * 3, dtype=torch.uint8).reshape(1, 4, 4, 3)
    turned = [torch.rot90(square[0], k) for k in range(4)]
    symmetries = [*turned, *(one.flip(1) for one in turned)]
    found = augmented(square.expand(800, 4, 4, 3), torch.Generator().manual_seed(0))
    counts = [sum(torch.equal(one, symmetry) for one in found) for symmetry in symmetries]
    assert sum(counts) == 800
    assert min(counts) > 60


def test_augmentation_repeats_with_its_generator():
    some = patches(5)
    first, second = (augmented(some, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, some)
