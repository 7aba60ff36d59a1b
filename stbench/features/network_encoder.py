"""What every encoder with a frozen torch network does with a batch of patches."""

from __future__ import annotations

import difflib
import hashlib
import json
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from stbench.errors import DataError, UnknownNameError
from stbench.features.encoder import Encoder, FloatArray, PatchArray
from stbench.features.linear import quicken

_TORCHVISION_OPERATORS = ("nms", "qnms")
_LISTED = 3  # architectures named in an error
_schemas: Any = None  # operators vanish with the Library object that defines them


def import_timm() -> Any:
    """Import timm, also beside a torchvision that was built for another torch.

    Such a torchvision fails at import because its compiled operators are absent. timm needs none of them, so their
    schemas are declared and the import is tried again.
    """
    for _ in range(len(_TORCHVISION_OPERATORS) + 1):
        try:
            import timm
        except RuntimeError as error:
            missing = [name for name in _TORCHVISION_OPERATORS if f"torchvision::{name} does not exist" in str(error)]
            if not missing:
                raise
            _declare_operator(missing[0])
        else:
            return timm
    raise ImportError("torchvision cannot be imported even with its operators declared; install one that fits torch")


def _declare_operator(name: str) -> None:
    global _schemas
    if _schemas is None:
        _schemas = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    _schemas.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for module in [module for module in sys.modules if module.split(".")[0] in ("torchvision", "timm")]:
        del sys.modules[module]


def check_architecture(name: str) -> None:
    """Refuse what timm does not know; a name of a hub would be downloaded.

    Raises:
        UnknownNameError: lists the nearest.
    """
    known = import_timm().list_models()
    if name.partition(".")[0] not in known:
        near = difflib.get_close_matches(name, known, n=_LISTED)  # timm knows over 1000
        raise UnknownNameError("timm architecture", name, near, hint="see timm.list_models()")


def classifier_prefixes(model: Any) -> tuple[str, ...]:
    """Prefixes of the entries of a timm model's classifier, which a weight file may hold."""
    heads = model.pretrained_cfg.get("classifier") or ()
    return tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))


class NetworkEncoder(Encoder):
    """A frozen network that maps normalised images to one vector each; it is built when the first patch is encoded.

    Args:
        build: makes the network, (b, 3, side, side) to (b, dim), with its weights.
        side: pixels of its input.
        mean: of each channel, images between 0 and 1.
        std: the same.
        device: torch device.
        half: mixed-precision type on CUDA; float32 elsewhere.
        resize: side the patch is brought to before its middle ``side`` pixels are taken; ``side`` when None.

    Raises:
        DataError: (when the network is built) it does not give one vector per patch, or its weights do not fit.
    """

    bounded = True

    def __init__(
        self,
        build: Callable[[], nn.Module],
        side: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: str,
        half: torch.dtype = torch.float16,
        resize: int | None = None,
    ) -> None:
        self._device, self._half, self._side = torch.device(device), half, side
        self._resize = resize or side
        self._build = build
        self._mean, self._std = (torch.tensor(v).view(1, 3, 1, 1) for v in (mean, std))

    @cached_property
    def _model(self) -> nn.Module:
        self._mean, self._std = self._mean.to(self._device), self._std.to(self._device)
        return quicken(self._build().eval().to(self._device))

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Width of a vector; asking for it builds the network."""
        with torch.inference_mode():
            shape = self._model(torch.zeros(1, 3, self._side, self._side, device=self._device)).shape
        if len(shape) != 2:
            raise DataError(
                f"expected one vector per patch from the model, found output {tuple(shape)}; "
                "set global_pool in the model_args of config.json"
            )
        return int(shape[1])

    def identity(self, name: str, version: int, file: Path, transform: list[Any], timm_version: str) -> str:
        """Key of the computation: name, version, hash of the weights, transform, precision, version of timm."""
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        half = str(self._half).removeprefix("torch.").replace("float16", "fp16").replace("bfp16", "bf16")
        precision = half if self._device.type == "cuda" else "fp32"
        return f"{name}/{version}/{digest}/{json.dumps(transform)}/{precision}/timm-{timm_version}"

    @torch.inference_mode()
    def encode(self, patches: PatchArray, *, white_point: NDArray[np.float64], um_per_px: float | None) -> FloatArray:
        model = self._model
        images = torch.from_numpy(patches).to(self._device).permute(0, 3, 1, 2).float() / 255
        if images.shape[-1] != self._resize:
            size = (self._resize, self._resize)
            images = F.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)
        rim = (self._resize - self._side) // 2
        images = images[..., rim : rim + self._side, rim : rim + self._side]
        with torch.autocast(self._device.type, dtype=self._half, enabled=self._device.type == "cuda"):
            features = model((images - self._mean) / self._std)
        return np.asarray(features.float().cpu().numpy(), dtype=np.float32)
