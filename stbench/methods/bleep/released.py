"""State dicts of the released BLEEP (github.com/bowang-lab/BLEEP), whose names are ours: their sizes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from stbench.methods.bleep.settings import BleepSettings
from stbench.methods.nn.released import load_released, matrix_shape

_ENCODER = "image_encoder."
_IMAGE, _SPOT = "image_projection.projection.weight", "spot_projection.projection.weight"
_CLASS_SIZES = {_IMAGE: (256, 2048), _SPOT: (256, 3467)}  # defaults of the released class


def released_settings(state: Mapping[str, Tensor], backbone: str, temperature: float) -> BleepSettings:
    """The settings under which BLEEP is what was released, at the sizes of a state dict.

    Args:
        state: tensor by name; without an image encoder it reads vectors.
        backbone: timm network of its image encoder.
        temperature: of its loss.
    """
    return BleepSettings(
        input="patches" if _reads_patches(state) else "features",
        backbone=backbone,
        pixels="raw-bgr",
        projection_dim=matrix_shape(state, _IMAGE, _CLASS_SIZES[_IMAGE])[0],
        temperature=temperature,
        standardize_features=False,
    )


def released_sizes(state: Mapping[str, Tensor]) -> dict[str, int]:
    """``n_genes`` and ``n_features`` of a state dict; no features where it reads patches."""
    n_features = 0 if _reads_patches(state) else matrix_shape(state, _IMAGE, _CLASS_SIZES[_IMAGE])[1]
    return {"n_genes": matrix_shape(state, _SPOT, _CLASS_SIZES[_SPOT])[1], "n_features": n_features}


def take_released(network: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Fill a network with a released state dict.

    Args:
        network: of the same sizes.
        state: tensor by name.
        where: what the tensors are of, for the message.

    Raises:
        DataError: an entry is missing, unexpected or misshapen; names all of them.
    """
    load_released(network, state, {name: name for name in network.state_dict()}, where)


def _reads_patches(state: Mapping[str, Tensor]) -> bool:
    return any(name.startswith(_ENCODER) for name in state)
