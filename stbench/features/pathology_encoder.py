"""Pathology encoders built from their recipes and local weight files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stbench.errors import DataError
from stbench.features.network_encoder import NetworkEncoder, import_timm
from stbench.features.pathology import RECIPES, Recipe
from stbench.features.weights import WEIGHT_NAMES, load_strictly, read_state, weight_file

_VERSION = 1
_STEM_WIDTHS = (12, 24)
State = dict[str, Tensor]


class PathologyEncoder(NetworkEncoder):
    """A named encoder.

    Args:
        name: key of :data:`stbench.features.pathology.RECIPES`.
        weights: the published file, or the folder that holds it; tensors only.
        device: torch device; mixed precision on CUDA.
        recipe: the recipe, that of the name when None.

    Raises:
        DataError: the weights cannot be read, or an entry is missing, unexpected or misshapen.
    """

    def __init__(self, name: str, weights: Path, device: str = "cpu", recipe: Recipe | None = None) -> None:
        rules = recipe or RECIPES[name]
        names = WEIGHT_NAMES if rules.file is None else (rules.file, *WEIGHT_NAMES)
        file = weight_file(weights, names)

        def made() -> nn.Module:
            state = _named_for_us(rules, read_state(file), file)
            model = build(rules, state)
            load_strictly(model, state, file, _unused(rules))
            return _Vector(model, rules)

        half = torch.bfloat16 if rules.bfloat16 else torch.float16
        super().__init__(made, rules.side, *rules.constants, device, half, rules.resize)
        transform = [rules.side, *map(list, rules.constants), *([rules.resize] if rules.resize else [])]
        self.key = self.identity(name, _VERSION, file, transform, import_timm().__version__)


def build(rules: Recipe, state: State) -> nn.Module:
    """The untrained network of a recipe; what a file leaves open (sizes of a pooler) is read off its entries."""
    timm = import_timm()
    classes = {"SwiGLUPacked": timm.layers.SwiGLUPacked, "SiLU": nn.SiLU}
    arguments = {k: classes.get(v, v) if isinstance(v, str) else v for k, v in rules.arguments.items()}
    if rules.layout == "old-swin":
        arguments["embed_layer"] = ConvStem
    network: nn.Module = timm.create_model(rules.architecture, num_classes=0, **arguments)
    return network if rules.output != "attention" else AttentionPooled(network, rules, state)


class _Vector(nn.Module):
    """One vector per image, by the recipe's rule."""

    def __init__(self, network: nn.Module, rules: Recipe) -> None:
        super().__init__()
        self.network: Any = network
        self.output = rules.output

    def forward(self, images: Tensor) -> Tensor:
        if self.output == "stage-3":
            (stage,) = self.network.forward_intermediates(images, indices=[3], intermediates_only=True)
            pooled: Tensor = stage.mean(dim=(2, 3))
            return pooled
        out: Tensor = self.network(images)
        if self.output != "class-and-patches":
            return out
        return torch.cat([out[:, 0], out[:, self.network.num_prefix_tokens :].mean(dim=1)], dim=-1)


class ConvStem(nn.Module):
    """CTransPath's patch embedding: two strided convolutions, one point-wise, channels last.

    Args follow timm's ``embed_layer``.
    """

    def __init__(self, img_size: tuple[int, int], patch_size: int, in_chans: int, embed_dim: int, **_: Any) -> None:
        super().__init__()
        first, last = _STEM_WIDTHS
        layers: list[nn.Module] = []
        for inputs, outputs in ((in_chans, first), (first, last)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs)]
            layers.append(nn.ReLU(inplace=True))
        self.proj = nn.Sequential(*layers, nn.Conv2d(last, embed_dim, 1))
        self.norm = nn.LayerNorm(embed_dim)
        self.grid_size = tuple(side // patch_size for side in img_size)

    def forward(self, images: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.proj(images).permute(0, 2, 3, 1))
        return normed


class AttentionPooled(nn.Module):
    """A ViT whose tokens one learned query pools (CONCH and CONCH v1.5)."""

    def __init__(self, trunk: Any, rules: Recipe, state: State) -> None:
        super().__init__()
        self.trunk = trunk
        width = int(trunk.num_features)
        split = "attn_pool_contrast.to_q.weight" in state
        pooler = SplitPooler if split else FusedPooler
        with_norm = "attn_pool_contrast.ln_q.weight" in state
        self.attn_pool_contrast = pooler(rules.dim, width, rules.pooler_heads, with_norm)
        self.ln_contrast = nn.LayerNorm(rules.dim)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.trunk.forward_features(images)
        pooled: Tensor = self.ln_contrast(self.attn_pool_contrast(tokens)[:, 0])
        return pooled


class FusedPooler(nn.Module):
    """CONCH's pooler, on torch's attention."""

    def __init__(self, dim: int, width: int, heads: int, with_query_norm: bool) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(1, dim))
        self.attn = nn.MultiheadAttention(dim, heads, kdim=width, vdim=width, batch_first=True)
        self.ln_q = nn.LayerNorm(dim) if with_query_norm else nn.Identity()
        self.ln_k = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        keys = self.ln_k(tokens)
        query = self.ln_q(self.query).expand(len(tokens), -1, -1)
        pooled: Tensor = self.attn(query, keys, keys, need_weights=False)[0]
        return pooled


class SplitPooler(nn.Module):
    """CONCH v1.5's pooler, with maps of its own and no bias."""

    def __init__(self, dim: int, width: int, heads: int, with_query_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.zeros(1, dim))
        self.ln_q = nn.LayerNorm(dim) if with_query_norm else nn.Identity()
        self.ln_k = nn.LayerNorm(width)
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(width, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        q = self.to_q(self.ln_q(self.query)).expand(len(tokens), -1, -1)
        k, v = self.to_kv(self.ln_k(tokens)).chunk(2, dim=-1)
        q, k, v = (a.unflatten(-1, (self.heads, -1)).transpose(1, 2) for a in (q, k, v))
        pooled = nn.functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.to_out(pooled.transpose(1, 2).flatten(2))
        return out


def _named_for_us(rules: Recipe, state: State, file: Path) -> State:
    state = {name.removeprefix(rules.prefix): tensor for name, tensor in state.items()}
    if rules.layout == "transformers-dinov2":
        return _from_transformers(state, file)
    if rules.layout == "old-swin":
        return _from_old_swin(state)
    return _from_lite(rules, state) if rules.layout == "lite" else state


def _unused(rules: Recipe) -> tuple[str, ...]:
    heads = ("fc.",) if rules.architecture.startswith("resnet") else ("head.", "classifier.")
    return rules.ignored + (heads if rules.layout in ("timm", "old-swin", "lite") else ())


def _from_old_swin(state: State) -> State:
    """timm numbers the down-sampling of a stage by what follows it since 1.0, and keeps no index buffers."""
    from timm.models.swin_transformer import checkpoint_filter_fn

    kept = {
        name: tensor for name, tensor in state.items() if not name.endswith(("attn_mask", "relative_position_index"))
    }
    probe = import_timm().create_model("swin_tiny_patch4_window7_224", num_classes=0, embed_layer=ConvStem)
    return dict(checkpoint_filter_fn(kept, probe))


_LITE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_LITE_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_LITE_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def _from_lite(rules: Recipe, state: State) -> State:
    """Blocks are numbered from end to end there, by stages in timm; those of the first stage do not widen."""
    probe: Any = import_timm().create_model(rules.architecture, num_classes=0)
    places = [(stage, block) for stage, blocks in enumerate(probe.blocks) for block in range(len(blocks))]
    found: State = {}
    for name, tensor in state.items():
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if block is None or int(block[1]) >= len(places):
            first, _, rest = name.partition(".")
            found[f"{_LITE.get(first, first)}.{rest}"] = tensor
        else:
            stage, number = places[int(block[1])]
            names = _LITE_BLOCK if stage else _LITE_FIRST
            found[f"blocks.{stage}.{number}.{names.get(block[2], block[2])}.{block[3]}"] = tensor
    return found


_DINOV2 = {
    "norm1.": "norm1.",
    "norm2.": "norm2.",
    "attention.output.dense.": "attn.proj.",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "mlp.fc1.": "mlp.fc1.",
    "mlp.fc2.": "mlp.fc2.",
}
_DINOV2_OUTSIDE = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
_MASK_TOKEN = "embeddings.mask_token"


def _from_transformers(state: State, file: Path) -> State:
    """Entries of transformers' ``Dinov2Model`` under timm's names; query, key and value become one matrix."""
    found: State = {}
    joint: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if name == _MASK_TOKEN:
            continue
        if name in _DINOV2_OUTSIDE:
            found[_DINOV2_OUTSIDE[name]] = tensor
            continue
        _, _, rest = name.partition("encoder.layer.")
        index, _, part = rest.partition(".")
        if part.startswith("attention.attention."):
            role, _, kind = part.removeprefix("attention.attention.").partition(".")
            joint.setdefault(f"blocks.{index}.attn.qkv.{kind}", {})[role] = tensor
            continue
        ours = next((new + part[len(old) :] for old, new in _DINOV2.items() if part.startswith(old)), None)
        found[name if ours is None else f"blocks.{index}.{ours}"] = tensor  # strict loading names what is unknown
    for name, roles in joint.items():
        if set(roles) != {"query", "key", "value"}:
            raise DataError(
                f"weights in {file}: expected query, key and value for {name}, found {', '.join(sorted(roles))}"
            )
        found[name] = torch.cat([roles[role] for role in ("query", "key", "value")])
    return found
