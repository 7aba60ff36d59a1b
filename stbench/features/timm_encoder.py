"""Image encoders whose network is a timm architecture and whose weights lie in a local file."""

from __future__ import annotations

import difflib
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from stbench.errors import DataError, UnknownNameError
from stbench.features.encoders import TIMM, Encoder, FloatArray, PatchArray

_VERSION = 1
_WEIGHT_NAMES = ("model.safetensors", "pytorch_model.bin")
_WRAPPERS = ("state_dict", "model")
_LISTED = 3  # entries named in an error
_TORCHVISION_OPERATORS = ("nms", "qnms")
_schemas: Any = None  # operators vanish with the Library object that defines them


def _import_timm() -> Any:
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


class TimmEncoder(Encoder):
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
        timm = _import_timm()
        if architecture.partition(".")[0] not in timm.list_models():
            near = difflib.get_close_matches(architecture, timm.list_models(), n=_LISTED)  # timm knows over 1000
            raise UnknownNameError("timm architecture", architecture, near, hint="see timm.list_models()")
        file = _weight_file(weights)
        config = _read_config(file)
        self._model = _build(timm, architecture, config.get("model_args", {}), file)
        _load_strictly(self._model, _read_state(file), file)
        record = {**self._model.pretrained_cfg, **config.get("pretrained_cfg", {})}
        self._side = int(record["input_size"][-1])
        self._device = torch.device(device)
        self._model.eval().to(self._device)
        self._mean, self._std = (
            torch.tensor(record[name], device=self._device).view(1, 3, 1, 1) for name in ("mean", "std")
        )
        self.dim = self._probe()
        self.key = self._identity(architecture, record, config, file, timm.__version__)

    def _probe(self) -> int:
        with torch.inference_mode():
            shape = self._model(torch.zeros(1, 3, self._side, self._side, device=self._device)).shape
        if len(shape) != 2:
            raise DataError(
                f"expected one vector per patch from the timm model, found output {tuple(shape)}; "
                "set global_pool in the model_args of config.json"
            )
        return int(shape[1])

    def _identity(self, architecture: str, record: Any, config: Any, file: Path, version: str) -> str:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        transform = [self._side, list(record["mean"]), list(record["std"]), config.get("model_args", {})]
        precision = "fp16" if self._device.type == "cuda" else "fp32"
        return f"{TIMM}{architecture}/{_VERSION}/{digest}/{json.dumps(transform)}/{precision}/timm-{version}"

    @torch.inference_mode()
    def encode(self, patches: PatchArray, *, white_point: NDArray[np.float64], um_per_px: float | None) -> FloatArray:
        images = torch.from_numpy(patches).to(self._device).permute(0, 3, 1, 2).float() / 255
        if images.shape[-1] != self._side:
            size = (self._side, self._side)
            images = F.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)
        with torch.autocast(self._device.type, dtype=torch.float16, enabled=self._device.type == "cuda"):
            features = self._model((images - self._mean) / self._std)
        return np.asarray(features.float().cpu().numpy(), dtype=np.float32)


def _weight_file(weights: Path) -> Path:
    candidates = [weights / name for name in _WEIGHT_NAMES] if weights.is_dir() else [weights]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise DataError(f"expected encoder weights at {' or '.join(map(str, candidates))}, found no such file")


def _read_config(file: Path) -> dict[str, Any]:
    """``model_args`` and ``pretrained_cfg`` of the ``config.json`` beside the weights, empty without one."""
    path = file.with_name("config.json")
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return {name: dict(config.get(name) or {}) for name in ("model_args", "pretrained_cfg")}
    except (ValueError, AttributeError, TypeError) as error:
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


def _read_state(file: Path) -> dict[str, torch.Tensor]:
    """The state dict in a file, without wrapping dict and without the prefix of DataParallel."""
    try:
        state = _read_tensors(file)
    except Exception as error:  # every reader fails in its own way on a damaged file
        reason = str(error).splitlines()[0]
        raise DataError(f"expected tensors in {file}, found an unreadable file ({reason}); fetch it again") from error
    for wrapper in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise DataError(f"expected a state dict (names to tensors) in {file}, found {type(state).__name__}")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _read_tensors(file: Path) -> Any:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(str(file))
    return torch.load(file, map_location="cpu", weights_only=True)


def _load_strictly(model: Any, state: dict[str, torch.Tensor], file: Path) -> None:
    expected = model.state_dict()
    heads = model.pretrained_cfg.get("classifier") or ()
    prefixes = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
    state = {name: tensor for name, tensor in state.items() if name in expected or not name.startswith(prefixes)}
    misshapen = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(expected[name].shape)}"
        for name, tensor in state.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    problems = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": sorted(state.keys() - expected.keys()),
        "misshapen": misshapen,
    }
    found = "; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in problems.items() if names)
    if found:
        raise DataError(f"weights in {file} do not fit the architecture, found {found}; check the architecture's name")
    model.load_state_dict(state, strict=True)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
