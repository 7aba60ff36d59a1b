"""A patch encoder that is part of a method: a timm network by name, trained with the method or frozen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from stbench.errors import SettingError
from stbench.features.linear import quicken
from stbench.features.network_encoder import check_architecture, classifier_prefixes, import_timm
from stbench.features.patches import SlidePatches
from stbench.features.weights import load_strictly, read_state, weight_file
from stbench.methods.nn.patch_settings import RANDOM

Pixels = Literal["standard", "raw", "raw-bgr"]
_CHUNK = 64  # patches per pass where a whole slide is encoded
_TURNS = 4  # quarter turns; with a flip they are all 8 symmetries of a square


class Backbone(nn.Module):
    """A timm network without its classifier, fed with raw patches.

    Its weights are random until :meth:`load`; they belong to the method's checkpoint, so that a saved method needs no
    weight file.

    Args:
        architecture: a name timm knows, e.g. ``resnet18`` or ``vit_small_patch16_224``; nothing is downloaded.
        trained: whether its weights learn; a frozen network stays in evaluation mode and keeps no gradients.
        pixels: ``standard``: mean and standard deviation of timm's record, on 0-1; ``raw``: 0-255 as they are;
            ``raw-bgr``: the same with the colours in the order of OpenCV.

    Attributes:
        dim: width of a vector.

    Raises:
        UnknownNameError: timm has no such architecture.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: str, *, trained: bool, pixels: Pixels = "standard") -> None:
        super().__init__()
        self.architecture, self.trained, self.pixels = architecture, trained, pixels
        self.model = _create(architecture)
        self.dim = int(self.model.num_features)
        record = self.model.pretrained_cfg
        self.fixed_side = int(record["input_size"][-1]) if record.get("fixed_input_size") else None
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(record[name]).view(1, 3, 1, 1), persistent=False)
        self.model.requires_grad_(trained)
        self.train()

    def load(self, weights: Path | str) -> None:
        """Read weights from a local file, safetensors or torch, or from a folder that holds one.

        Raises:
            DataError: the file cannot be read, or an entry is missing, unexpected or misshapen.
        """
        file = weight_file(Path(weights))
        load_strictly(self.model, read_state(file), file, classifier_prefixes(self.model))

    def start(self, weights: str | None, side: int) -> None:
        """Take the weights that training starts from.

        Args:
            weights: local file or folder, or ``random`` to keep what it has.
            side: pixels of the patches it will see.

        Raises:
            SettingError: no weights are named, or the architecture takes patches of another side alone.
            DataError: the weights cannot be read or do not fit.
        """
        self.check_side(side)
        if weights is None:
            raise SettingError(without_weights(self.architecture))
        if weights != RANDOM:
            self.load(weights)

    def train(self, mode: bool = True) -> Backbone:
        """Training mode for trained networks only: the statistics of a frozen one never move."""
        return super().train(mode and self.trained)

    def forward(self, patches: Tensor) -> Tensor:
        """(b, dim) pooled vectors of (b, side, side, 3) uint8 RGB patches."""
        with nullcontext() if self.trained else torch.no_grad():
            return self.model(self._images(patches))  # (b, dim)

    def tokens(self, patches: Tensor) -> Tensor:
        """(b, t, dim) vectors of the t places of a patch before pooling, row by row, without class tokens."""
        with nullcontext() if self.trained else torch.no_grad():
            maps = self.model.forward_features(self._images(patches))
        if maps.ndim == 3:
            return maps[:, getattr(self.model, "num_prefix_tokens", 0) :]  # (b, t, dim)
        rows_last = getattr(self.model, "output_fmt", None) == "NHWC"
        return maps.flatten(1, 2) if rows_last else maps.flatten(2).transpose(1, 2)  # (b, t, dim)

    def in_chunks(self, patches: Tensor, size: int = _CHUNK) -> Tensor:
        """:meth:`forward` of many patches in bounded memory.

        Where gradients are needed the activations of a chunk are computed again on the way back. The statistics of
        batch normalisation are those of a chunk.
        """
        parts = torch.split(patches, size)
        if not (self.trained and torch.is_grad_enabled()):
            return torch.cat([self(part) for part in parts])
        return torch.cat([self._recomputed(part) for part in parts])

    def encode(self, patches: SlidePatches, side: int) -> NDArray[np.float32]:
        """(n_spots, dim) vectors of a slide, read from its picture in batches, without gradients."""
        device = self.mean.device
        with torch.no_grad():
            parts = [self(torch.from_numpy(batch).to(device)).float().cpu() for batch in patches.batches(side)]
        return torch.cat(parts).numpy()

    def check_side(self, side: int) -> None:
        """Raise SettingError where the architecture takes patches of another side alone."""
        if self.fixed_side is not None and side != self.fixed_side:
            raise SettingError(
                f"backbone {self.architecture}: expected patches of {self.fixed_side} px, found {side}; "
                f"set patch_px={self.fixed_side} or choose another backbone"
            )

    def _images(self, patches: Tensor) -> Tensor:
        images = patches.permute(0, 3, 1, 2).float()  # (b, 3, side, side)
        if self.pixels == "standard":
            return (images / 255 - self.mean) / self.std
        return images.flip(1) if self.pixels == "raw-bgr" else images

    def _recomputed(self, patches: Tensor) -> Tensor:
        found = checkpoint(
            self, patches, use_reentrant=False, context_fn=lambda: (nullcontext(), _unmoved_statistics(self))
        )
        assert isinstance(found, Tensor)
        return found


def make_backbone(architecture: str, weights: str | None, *, trained: bool, side: int, pixels: Pixels) -> Backbone:
    """A backbone with its starting weights.

    Args:
        architecture: name of the timm network.
        weights: local file or folder, or ``random``; torch's seed decides the random ones.
        trained: whether it learns.
        side: pixels of the patches it will see.
        pixels: see :class:`Backbone`.

    Raises:
        SettingError: no weights are named, or patches of another side are needed.
        UnknownNameError: timm has no such architecture.
        DataError: the weights cannot be read or do not fit.
    """
    backbone = Backbone(architecture, trained=trained, pixels=pixels)
    backbone.start(weights, side)
    return backbone


def without_weights(architecture: str) -> str:
    """What to say where a backbone has no weights."""
    return (
        f"backbone {architecture}: expected a local weight file (nothing is downloaded), found none; "
        f"--set backbone_weights=FILE names one, --set backbone_weights={RANDOM} starts from none"
    )


def augmented(patches: Tensor, generator: torch.Generator) -> Tensor:
    """Each patch under one of the 8 symmetries of the square, drawn uniformly.

    Args:
        patches: (b, side, side, 3).
        generator: of the draws, on the CPU.
    """
    drawn = torch.randint(2 * _TURNS, (len(patches),), generator=generator)
    found = torch.empty_like(patches)
    for kind in range(2 * _TURNS):
        rows = (drawn == kind).nonzero().flatten().to(patches.device)
        if len(rows):
            turned = torch.rot90(patches[rows], kind % _TURNS, (1, 2))
            found[rows] = turned.flip(2) if kind >= _TURNS else turned
    return found


def _create(architecture: str) -> Any:
    check_architecture(architecture)
    return quicken(import_timm().create_model(architecture, pretrained=False, num_classes=0))


@contextmanager
def _unmoved_statistics(module: nn.Module) -> Iterator[None]:
    """A second pass over the same patches must not count twice in the running statistics."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
