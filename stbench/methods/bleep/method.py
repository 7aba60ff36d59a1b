"""BLEEP as a method of the harness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stbench.errors import RunFailedError
from stbench.methods.base import Context, FloatArray, LabelledSlide, SlideInputs
from stbench.methods.bleep.losses import contrastive_loss, logits, soft_targets
from stbench.methods.bleep.network import BleepNetwork
from stbench.methods.bleep.pairs import Pairs
from stbench.methods.bleep.released import released_settings, released_sizes, take_released
from stbench.methods.bleep.retrieval import predict_from, retrieve
from stbench.methods.bleep.settings import BleepSettings
from stbench.methods.nn.backbone import augmented
from stbench.methods.nn.patch_settings import RANDOM
from stbench.methods.nn.released import released_state
from stbench.methods.nn.sent import sent
from stbench.methods.nn.spot_input import SpotReader, Spots, input_moments, why_unreadable
from stbench.methods.trained import TrainedMethod, lent
from stbench.training.scores import mean_slide_correlation

_BATCH = 256  # patches, or expression vectors x 16, embedded at a time


class Bleep(TrainedMethod):
    """BLEEP (arXiv:2306.01859): the mean expression of the training spots whose embeddings are nearest a patch's.

    The bank holds the training spots alone; it is part of the checkpoint.
    """

    Settings = BleepSettings
    settings: BleepSettings
    module_: BleepNetwork
    feature_mean_: FloatArray
    feature_std_: FloatArray
    bank_expression_: FloatArray  # (M, G), task's scale
    bank_embeddings_: FloatArray  # (M, d)
    bank_slides_: list[str]

    def build(self, **sizes: int) -> nn.Module:
        """The untrained network; sizes are ``n_genes`` and ``n_features``."""
        return BleepNetwork(self.settings, **sizes)

    def fill_bank(self, slides: Sequence[LabelledSlide]) -> None:
        """Make the spots of these slides the ones that predictions are made of; training slides, never others.

        Args:
            slides: slides with expression in the method's gene order, on its scale.
        """
        self.bank_slides_ = [slide.inputs.slide_id for slide in slides]
        self.bank_expression_ = np.concatenate([slide.expression for slide in slides])
        self.bank_embeddings_ = self._embed_expression(self.bank_expression_)

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        """(1, n_spots, G) mean expression of the nearest spots of the bank.

        Raises:
            RunFailedError: the bank is empty.
            DataError: the slide lacks what the method reads.
        """
        if not hasattr(self, "bank_expression_"):
            raise RunFailedError(
                "bleep: expected a bank of measured spots, found none; call fill_bank(training slides)"
            )
        return self.predict_read(self.reader(inputs))[None]

    def refuse(self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], context: Context) -> str | None:
        """Fewer than 2 training spots, or slides without the input that the settings name."""
        n_spots = sum(slide.inputs.n_spots for slide in train)
        if n_spots < 2:
            return f"expected at least 2 training spots to tell apart, found {n_spots}"
        slides = [*(slide.inputs for slide in train), *test]
        backbone = self.settings.backbone if self.settings.weights is None else None  # its weights are among them
        return why_unreadable(self.settings, backbone, slides)

    @property
    def reader(self) -> SpotReader:
        """Reads spots as the network wants them."""
        return SpotReader(self.settings, self.feature_mean_, self.feature_std_, self.module_.image_encoder)

    def predict_read(self, spots: Spots) -> FloatArray:
        """(n, G) expression of spots that have been read."""
        query = self._embed_images(spots)
        rows = retrieve(query, self.bank_embeddings_, self.settings.k)
        return predict_from(query, self.bank_embeddings_, self.bank_expression_, rows, self.settings.retrieval)

    @torch.no_grad()
    def _embed_images(self, spots: Spots) -> FloatArray:
        with self.computing():
            parts = [self.module_.embed_images(self._tensor(part)) for part in _parts(spots, _BATCH)]
        return torch.cat(parts).float().cpu().numpy()

    @torch.no_grad()
    def _embed_expression(self, expression: FloatArray) -> FloatArray:
        with self.computing():
            parts = [self.module_.embed_spots(self._tensor(part)) for part in _parts(expression, 16 * _BATCH)]
        return torch.cat(parts).float().cpu().numpy()

    def _tensor(self, array: Spots) -> Tensor:
        return torch.from_numpy(np.array(array)).to(self.module_.spot_projection.fc.weight.device)

    def _prepare(
        self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context
    ) -> BleepObjective:
        self.feature_mean_, self.feature_std_ = input_moments(self.settings, train)
        self._new_module(context, n_genes=context.n_genes, n_features=len(self.feature_mean_))
        if self.module_.image_encoder is not None:
            start = self.settings.backbone_weights if self.settings.weights is None else RANDOM
            self.module_.image_encoder.start(start, self.settings.patch_px)
        return BleepObjective(self, train, validation, context)

    def _take(self, state: Mapping[str, Tensor], where: str) -> None:
        take_released(self.module_, state, where)

    def _conclude(self, objective: BleepObjective) -> str:
        self.fill_bank(objective.train)
        return f"bank of {len(self.bank_expression_)} spots"

    @property
    def _score_name(self) -> str:
        return "loss" if self.settings.select_by == "loss" else "PCC"


class BleepObjective:
    """The contrastive loss on batches of training pairs, all of one size.

    Args:
        method: the method being fitted.
        train: training slides.
        validation: validation slides.
        context: seed and device.
    """

    def __init__(
        self, method: Bleep, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context
    ) -> None:
        self.method, self.train, self.context = method, train, context
        self.pairs, self.held_out = self._pairs(train), self._pairs(validation)

    @property
    def epoch_length(self) -> int:
        """Full batches of the training pairs."""
        return self.pairs.n_batches

    def losses(self, module: nn.Module, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Contrastive loss of a full batch of pairs."""
        epoch, place = divmod(index, self.pairs.n_batches)
        spots, expression = self._on_device(*self.pairs.batch(self.pairs.order(self.context.seed, epoch), place))
        if self.method.settings.augment and spots.dtype == torch.uint8:
            spots = augmented(spots, generator)
        return {"total": self._loss(module, spots, expression)}

    def score(self, module: nn.Module) -> float:
        """Negative loss on the validation pairs, or PCC of what the training bank predicts for them."""
        with lent(self.method, module):
            return -self._validation_loss(module) if self.method.settings.select_by == "loss" else self._retrieval()

    def _pairs(self, slides: Sequence[LabelledSlide]) -> Pairs:
        method = self.method
        spots = [method.reader(slide.inputs) for slide in slides]
        return Pairs(spots, [slide.expression for slide in slides], method.settings.batch)

    def _loss(self, module: nn.Module, spots: Tensor, expression: Tensor) -> Tensor:
        rules = self.method.settings
        image, spot = (embedding.float() for embedding in module(spots, expression))
        factor = 1 / rules.temperature if rules.target_temperature == "divide" else rules.temperature
        projected = rules.targets == "projected"
        targets = soft_targets(image, spot, factor) if projected else torch.eye(len(image), device=image.device)
        return contrastive_loss(logits(image, spot, rules.temperature), targets)

    def _validation_loss(self, module: nn.Module) -> float:
        """Mean loss of the same full batches every time: a loss depends on the size of its batch."""
        order = self.held_out.order(self.context.seed, 0)
        batches = (self.held_out.batch(order, place) for place in range(self.held_out.n_batches))
        return float(np.mean([float(self._loss(module, *self._on_device(*batch))) for batch in batches]))

    def _retrieval(self) -> float:
        self.method.fill_bank(self.train)
        pairs = zip(self.held_out.expression, self.held_out.spots, strict=True)
        return mean_slide_correlation((true, self.method.predict_read(spots)) for true, spots in pairs)

    def _on_device(self, spots: Spots, expression: FloatArray) -> tuple[Tensor, Tensor]:
        device = self.context.device
        return sent(torch.from_numpy(spots), device), sent(torch.from_numpy(expression), device)


def load_official(
    source: Path | str | Mapping[str, Tensor], *, backbone: str = "resnet50", temperature: float = 1.0
) -> Bleep:
    """A method that embeds as a released checkpoint embeds; give it a bank with :meth:`Bleep.fill_bank`.

    A state dict without image encoder reads vectors used as they are.

    Args:
        source: safetensors or torch file (tensors only), or a state dict.
        backbone: timm network of the checkpoint's image encoder.
        temperature: of its loss; no part of the file, and without effect on predictions.

    Returns:
        A method whose genes are in the order of the checkpoint's, as yet without bank.

    Raises:
        DataError: the file cannot be read, or an entry is missing, unexpected or misshapen; names all of them.
        UnknownNameError: timm has no such backbone.
    """
    state, where = released_state(source)
    method = Bleep(released_settings(state, backbone, temperature))
    method._new_module(Context(()), **released_sizes(state))
    take_released(method.module_, state, where)
    method.module_.eval()
    width = method.sizes_["n_features"]
    method.feature_mean_, method.feature_std_ = np.zeros(width, np.float32), np.ones(width, np.float32)
    return method


def _parts(array: Spots, size: int) -> list[Spots]:
    return [array[start : start + size] for start in range(0, len(array), size)]
