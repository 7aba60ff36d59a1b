import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stbench.errors import DataError, SettingError, UnknownNameError
from stbench.features.encoders import load_encoder
from stbench.features.network_encoder import import_timm

WHITE = np.full(3, 245.0)
ARCHITECTURE = "test_vit"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return import_timm().create_model(ARCHITECTURE, num_classes=0).eval()


@pytest.fixture
def patches(tissue):
    return np.stack([tissue(160, seed) for seed in range(2)])


def encode(encoder, patches):
    return encoder.encode(patches, white_point=WHITE, um_per_px=None)


def saved(model, path, **changes):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state |= {name: tensor for name, tensor in changes.items() if tensor is not None}
    state = {name: tensor for name, tensor in state.items() if changes.get(name, tensor) is not None}
    save_file(state, str(path))
    return path


def test_mean_rgb_is_the_mean_colour():
    patch = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    patch[..., 1] = 255
    patch[:, :32, :, 2] = 51
    np.testing.assert_allclose(encode(load_encoder("mean-rgb"), patch), [[0, 1, 0.1]], atol=1e-6)


def test_unknown_encoder_lists_the_nearest():
    with pytest.raises(UnknownNameError, match=r"handcrafted-v2.*did you mean handcrafted-v1"):
        load_encoder("handcrafted-v2")


def test_weights_for_an_encoder_without_weights_are_refused(tmp_path):
    with pytest.raises(SettingError, match=r"mean-rgb.*expected no weights"):
        load_encoder("mean-rgb", weights=tmp_path)


def test_timm_without_weights_is_refused():
    with pytest.raises(SettingError, match=r"timm:test_vit.*local weight file"):
        load_encoder("timm:test_vit")


def test_unknown_timm_architecture_lists_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match=r"did you mean.*resnet50") as caught:
        load_encoder("timm:resnet5O", weights=tmp_path)
    assert len(str(caught.value)) < 1000


def test_timm_features_equal_the_source_model(model, patches, tmp_path):
    encoder = load_encoder("timm:test_vit", weights=saved(model, tmp_path / "w.safetensors"))
    images = torch.from_numpy(patches).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        expected = model((images - 0.5) / 0.5)  # the constants timm records for this architecture
    assert encoder.dim == 64
    np.testing.assert_allclose(encode(encoder, patches), expected.numpy(), atol=1e-5)


def test_timm_reads_wrapped_torch_files_with_a_classifier(model, patches, tmp_path):
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    head = {"module.head.weight": torch.zeros(10, 64), "module.head.bias": torch.zeros(10)}
    torch.save({"state_dict": state | head}, tmp_path / "w.pth")
    wrapped = load_encoder("timm:test_vit", weights=tmp_path / "w.pth")
    plain = load_encoder("timm:test_vit", weights=saved(model, tmp_path / "w.safetensors"))
    np.testing.assert_array_equal(encode(wrapped, patches), encode(plain, patches))
    assert wrapped.key != plain.key


def test_config_beside_the_weights_sets_normalisation_and_arguments(model, patches, tmp_path):
    plain = load_encoder("timm:test_vit", weights=saved(model, tmp_path / "other.safetensors"))
    saved(model, tmp_path / "model.safetensors")
    config = {"model_args": {"dynamic_img_size": True}, "pretrained_cfg": {"mean": [0.1, 0.2, 0.3]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    encoder = load_encoder("timm:test_vit", weights=tmp_path)
    assert encoder.key != plain.key
    assert not np.allclose(encode(encoder, patches), encode(plain, patches))


def test_what_is_assumed_without_a_config_is_said(model, tmp_path):
    path = saved(model, tmp_path / "mine.safetensors")
    remark = load_encoder("timm:test_vit", weights=path).remark
    assert remark.startswith(
        "no config.json beside mine.safetensors says how images are normalised: mean 0.5, 0.5, 0.5"
    )
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}}))
    assert load_encoder("timm:test_vit", weights=path).remark == ""
    assert load_encoder("mean-rgb").remark == ""


def test_arguments_the_architecture_does_not_know_are_refused(model, tmp_path):
    saved(model, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_args": {"wings": 2}}))
    with pytest.raises(DataError, match=r"cannot build test_vit with the model_args .*wings.*config\.json"):
        assert load_encoder("timm:test_vit", weights=tmp_path).dim


def test_tag_of_a_training_is_accepted(model, tmp_path):
    file = saved(model, tmp_path / "w.safetensors")
    assert load_encoder("timm:test_vit.r160_in1k", weights=file).dim == 64


def test_other_patch_sizes_are_resized(model, tissue, tmp_path):
    encoder = load_encoder("timm:test_vit", weights=saved(model, tmp_path / "w.safetensors"))
    assert encode(encoder, tissue(224, 1)[None]).shape == (1, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks.0.attn.qkv.bias": None}, "1 missing: blocks.0.attn.qkv.bias"),
        ({"extra.weight": torch.zeros(1)}, "1 unexpected: extra.weight"),
        ({"norm.weight": torch.zeros(3)}, r"1 misshapen: norm.weight \(3,\) instead of \(64,\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(model, tmp_path, changes, message):
    file = saved(model, tmp_path / "w.safetensors", **changes)
    with pytest.raises(DataError, match=f"w.safetensors.*{message}"):
        assert load_encoder("timm:test_vit", weights=file).dim


def test_truncated_weights_are_refused(model, tmp_path):
    file = saved(model, tmp_path / "w.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"w\.safetensors, found an unreadable file"):
        assert load_encoder("timm:test_vit", weights=file).dim


def test_torch_file_that_holds_code_is_refused_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"weight": Trap()}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"w\.pth, found an unreadable file"):
        assert load_encoder("timm:test_vit", weights=tmp_path / "w.pth").dim
    assert not (tmp_path / "ran").exists()


def test_absent_weight_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.safetensors, found no such file"):
        load_encoder("timm:test_vit", weights=tmp_path / "absent.safetensors")


def test_broken_config_is_refused(model, tmp_path):
    saved(model, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config\.json, found"):
        assert load_encoder("timm:test_vit", weights=tmp_path).dim
