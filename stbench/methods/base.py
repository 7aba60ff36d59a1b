"""The one interface every method implements, and what the harness hands to it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from stbench.errors import DataError
from stbench.files import whole
from stbench.reporting import SILENT, Reporter

if TYPE_CHECKING:
    from torch import nn

    from stbench.data.slide import Slide
    from stbench.features.patches import SlidePatches

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class SlideInputs:
    """Everything a method may know of a slide it predicts; no expression but for oracles, so the truth cannot leak.

    Args:
        slide_id: name of the slide.
        patient: key of the patient, None when unknown.
        features: (n_spots, d) float32 image features of the task's encoder, not standardised.
        xy: (n_spots, 2) float32 spot centres in full-resolution pixels, x right, y down.
        array_xy: (n_spots, 2) float32 array positions, None when the layout does not give them.
        um_per_px: micrometres per pixel, None when unknown.
        total_counts: (n_spots,) UMI per spot; given to oracles alone, None for everybody else.
        oracle_expression: (n_spots, n_genes) float32 truth on the task's scale; given to oracles alone, too.
        source: the slide itself with the panel's genes, how it was generated included; given to ceilings alone.
        patches: the picture around each spot, for methods that read it themselves; None where the slide has no picture
            or the method may not see it.
    """

    slide_id: str
    patient: str | None
    features: FloatArray
    xy: FloatArray
    array_xy: FloatArray | None = None
    um_per_px: float | None = None
    total_counts: NDArray[np.float64] | None = None
    oracle_expression: FloatArray | None = None
    source: Slide | None = None
    patches: SlidePatches | None = None

    @property
    def n_spots(self) -> int:
        """Number of spots."""
        return len(self.xy)


@dataclass(frozen=True)
class LabelledSlide:
    """A training or validation slide.

    Args:
        inputs: what is known without the truth.
        expression: (n_spots, n_genes) float32 on the task's normalised scale, columns in panel order.
    """

    inputs: SlideInputs
    expression: FloatArray


@dataclass(frozen=True)
class Context:
    """What the harness tells a method about the run.

    Args:
        genes: names of the panel genes, in column order.
        seed: seed of everything random in fitting.
        scale: of expression and predictions, a name of :mod:`stbench.data.normalize`.
        device: torch device string, ``"cpu"`` or ``"cuda"``.
        workdir: folder for training checkpoints, None when nothing may be written.
        resume: whether to go on from a checkpoint in ``workdir``.
        reporter: where progress and messages go.
    """

    genes: tuple[str, ...]
    seed: int = 0
    scale: str = "log1p"
    device: str = "cpu"
    workdir: Path | None = None
    resume: bool = False
    reporter: Reporter = field(default=SILENT)

    @property
    def n_genes(self) -> int:
        """Size of the panel."""
        return len(self.genes)


class NoSettings(BaseModel):
    """Settings of a method that has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Method(ABC):
    """A predictor of spatial expression.

    A subclass sets ``Settings`` (a frozen pydantic model, every field with a default and a description) and implements
    :meth:`fit` and :meth:`predict`. Whatever fitting learns goes into attributes whose names end with an underscore
    (numpy arrays, numbers, strings, lists of them, or one torch module named ``module_`` that :meth:`build` makes);
    saving and loading then need no further code.

    Args:
        settings: an instance of ``Settings``; its defaults when left out.
    """

    Settings: ClassVar[type[BaseModel]] = NoSettings
    predicts: ClassVar[bool] = True  # but for ceilings that are measured on the truth

    def __init__(self, settings: BaseModel | None = None) -> None:
        self.settings: Any = self.Settings() if settings is None else settings

    @abstractmethod
    def fit(self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context) -> None:
        """Learn from the training slides; the validation slides may choose a stopping point or a setting."""

    @abstractmethod
    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        """Predict a slide.

        Args:
            inputs: the slide, without its expression.
            draws: number of samples a generative method returns; others return one.
            seed: seed of the draws; draw ``k`` of a slide must not depend on ``draws``.

        Returns:
            (n_draws, n_spots, n_genes) float32, on the scale of the training expression.
        """

    def predict_mean(self, inputs: SlideInputs, seed: int) -> FloatArray | None:
        """(n_spots, n_genes) direct estimate of the posterior mean, None where the method offers none."""
        return None

    def refuse(self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], context: Context) -> str | None:
        """The reason why the method cannot run on a task, None if it can."""
        return None

    def estimate_seconds(
        self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], draws: int, context: Context
    ) -> float | None:
        """Expected seconds of fitting and predicting on this machine, None for methods that are fast anyway."""
        return None

    def build(self, **sizes: int) -> nn.Module:
        """Make the untrained torch module; ``sizes`` are what :meth:`fit` stores as ``sizes_``."""
        raise NotImplementedError(f"{type(self).__name__} has no torch module")

    def save(self, path: Path) -> None:
        """Write the fitted state as safetensors, settings included.

        Args:
            path: file to write, replaced as a whole once complete.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        arrays, values = _split_state(self)
        metadata = {
            "method": type(self).__name__,
            "settings": self.settings.model_dump_json(),
            "state": json.dumps(values),
        }
        with whole(path, also=(SafetensorError,)) as part:
            save_file(arrays, str(part), metadata=metadata)

    @classmethod
    def load(cls, path: Path) -> Method:
        """Read a fitted method written by :meth:`save`.

        Raises:
            DataError: the file is not such a checkpoint or belongs to another method.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="np") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise DataError(
                f"expected a checkpoint in {path}, found an unreadable file ({error}); fit the method again"
            ) from error
        if metadata.get("method") != cls.__name__:
            raise DataError(f"expected a checkpoint of {cls.__name__} in {path}, found one of {metadata.get('method')}")
        method = cls(cls.Settings.model_validate_json(metadata["settings"]))
        _restore_state(method, arrays, json.loads(metadata["state"]))
        return method


_MODULE = "module_"


def _split_state(method: Method) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    fitted = {name: value for name, value in vars(method).items() if name.endswith("_") and not name.startswith("_")}
    module = fitted.pop(_MODULE, None)
    arrays = {name: np.ascontiguousarray(value) for name, value in fitted.items() if isinstance(value, np.ndarray)}
    values = {name: value for name, value in fitted.items() if name not in arrays}
    if module is not None:
        state = module.state_dict()
        arrays |= {f"{_MODULE}.{name}": tensor.detach().cpu().numpy() for name, tensor in state.items()}
    return arrays, values


def _restore_state(method: Method, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
    import torch

    for name, value in values.items():
        setattr(method, name, value)
    prefix = f"{_MODULE}."
    weights = {
        name[len(prefix) :]: torch.from_numpy(array) for name, array in arrays.items() if name.startswith(prefix)
    }
    for name, array in arrays.items():
        if not name.startswith(prefix):
            setattr(method, name, array)
    if weights:
        module = method.build(**values["sizes_"])
        module.load_state_dict(weights)
        method.module_ = module.eval()  # type: ignore[attr-defined]


def draw_seed(seed: int, slide_id: str, draw: int) -> int:
    """Seed of one draw of one slide: the same whatever else is drawn, in whatever batch."""
    import hashlib

    digest = hashlib.sha256(f"{seed}/{slide_id}/{draw}".encode()).digest()
    return int.from_bytes(digest[:7], "little")
