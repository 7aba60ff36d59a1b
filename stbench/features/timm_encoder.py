"""Image encoders whose network is a timm architecture and whose weights lie in a local file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from stbench.errors import DataError
from stbench.features.encoder import TIMM
from stbench.features.network_encoder import NetworkEncoder, check_architecture, classifier_prefixes, import_timm
from stbench.features.weights import load_strictly, read_state, weight_file
from stbench.reading import read_json
from stbench.text import listed

_VERSION = 1


class TimmEncoder(NetworkEncoder):
    """A frozen timm network without its classifier, pooled output.

    Mean, standard deviation and input size come from ``config.json`` beside the weights (the layout of the Hugging
    Face hub), else from timm's own record of the architecture.

    Args:
        architecture: name timm knows, with or without its tag of a training, e.g. ``resnet50.tv_in1k``; the tag
            decides the normalisation timm records.
        weights: ``.safetensors`` or a torch file (tensors only), or a folder that holds one.
        device: torch device; mixed precision on CUDA.

    Raises:
        UnknownNameError: timm has no such architecture.
        DataError: the weights cannot be read, or an entry is missing, unexpected or misshapen.
    """

    def __init__(self, architecture: str, weights: Path, device: str = "cpu") -> None:
        timm = import_timm()
        check_architecture(architecture)
        file = weight_file(weights)
        config = _read_config(file)
        known = timm.models.get_pretrained_cfg(architecture)
        record = {**(known.to_dict() if known else {}), **config.get("pretrained_cfg", {})}
        side, mean, std = int(record["input_size"][-1]), tuple(record["mean"]), tuple(record["std"])

        def build() -> Any:
            model = _build(timm, architecture, config.get("model_args", {}), file)
            load_strictly(model, read_state(file), file, classifier_prefixes(model))
            return model

        super().__init__(build, side, mean, std, device)
        transform = [side, list(mean), list(std), config.get("model_args", {})]
        if not {"mean", "std"} <= set(config.get("pretrained_cfg", {})):
            self.remark = _assumed(architecture, file, mean, std)
        self.key = self.identity(f"{TIMM}{architecture}", _VERSION, file, transform, timm.__version__)


def _assumed(architecture: str, file: Path, mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    return (
        f"no config.json beside {file.name} says how images are normalised: mean {listed(mean)} and standard deviation "
        f"{listed(std)} are assumed, timm's record of {architecture}; put the publisher's config.json there"
    )


def _read_config(file: Path) -> dict[str, Any]:
    """``model_args`` and ``pretrained_cfg`` of the ``config.json`` beside the weights, empty without one."""
    path = file.with_name("config.json")
    if not path.is_file():
        return {}
    try:
        config = read_json(path)
        return {name: dict(config.get(name) or {}) for name in ("model_args", "pretrained_cfg")}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"expected the JSON object of a timm model in {path}, found: {error}") from error


def _build(timm: Any, architecture: str, model_args: dict[str, Any], file: Path) -> Any:
    from timm.layers import SwiGLUPacked

    classes = {"SwiGLUPacked": SwiGLUPacked, "SiLU": torch.nn.SiLU}  # JSON cannot hold the two classes encoders need
    arguments = {
        name: classes.get(value, value) if isinstance(value, str) else value for name, value in model_args.items()
    }
    try:
        return timm.create_model(architecture, **{**arguments, "num_classes": 0})
    except (TypeError, ValueError, RuntimeError) as error:
        config = file.with_name("config.json")
        raise DataError(
            f"timm cannot build {architecture} with the model_args {arguments} of {config}: {error}"
        ) from error
