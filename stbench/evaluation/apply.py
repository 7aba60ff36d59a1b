"""A fitted method applied to a slide that nobody measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stbench.data.image import PatchSpec
from stbench.data.slide import SPATIAL, Slide
from stbench.errors import DataError, SettingError, UserError
from stbench.evaluation.export import library
from stbench.evaluation.fit import foreign
from stbench.evaluation.model import ModelFacts, load_model
from stbench.evaluation.needs import unmet
from stbench.evaluation.predictions import POSTERIOR_MEAN, SPREAD, annotated
from stbench.evaluation.seen import strange
from stbench.evaluation.task import NO_ENCODER
from stbench.evaluation.worker import drawn
from stbench.features.calibration import calibration, is_same
from stbench.features.encoder import Encoder
from stbench.features.encoders import load_encoder, needs_pictures
from stbench.features.extract import slide_features
from stbench.features.patches import SlidePatches
from stbench.methods.base import Method, SlideInputs
from stbench.reporting import SILENT, Reporter

if TYPE_CHECKING:
    from anndata import AnnData

"""Layer with the sample standard deviation over draws, on the scale of the predictions."""


@dataclass(frozen=True)
class Model:
    """A fitted method ready to predict.

    Args:
        facts: what ``model.json`` says.
        method: the method.
        encoder: of pictures, None where the method sees no features.
        device: torch device of the encoder.
        cache_dir: folder of the feature cache, None computes anew.
    """

    facts: ModelFacts
    method: Method
    encoder: Encoder | None
    device: str = "cpu"
    cache_dir: Path | None = None

    @property
    def patch(self) -> PatchSpec:
        """Geometry of the patches it was fitted on."""
        said = self.facts.patch
        px, out = (None if said[name] is None else int(said[name]) for name in ("px", "out_px"))  # type: ignore[arg-type]
        return PatchSpec(said["um"], px, out)


def open_model(
    folder: Path, *, weights: Path | None = None, device: str = "cpu", cache_dir: Path | None = None
) -> Model:
    """Read a model and the encoder that it was fitted with.

    Args:
        folder: what ``stbench fit`` wrote.
        weights: weight file of the encoder, or folder of precomputed features, where it has one.
        device: torch device of the encoder.
        cache_dir: folder of the feature cache, None computes anew.

    Raises:
        DataError: the model is damaged, or the encoder is another one than it was fitted with.
        SettingError: the encoder's weights are missing.
    """
    facts, method = load_model(folder)
    if facts.encoder_name == NO_ENCODER:
        return Model(facts, method, None, device, cache_dir)
    if not needs_pictures(facts.encoder_name):
        raise SettingError(
            f"model {folder}: expected an encoder of pictures, found {facts.encoder_name}, whose features come with "
            "the slides; fit with another --encoder"
        )
    encoder = load_encoder(facts.encoder_name, weights=weights, device=device)
    _check_encoder(facts, encoder, folder)
    return Model(facts, method, encoder, device, cache_dir)


def _check_encoder(facts: ModelFacts, encoder: Encoder, folder: Path) -> None:
    if encoder.key != facts.encoder:
        raise DataError(
            f"model {folder}: expected encoder {facts.encoder}, found {encoder.key}; give the weights it was fitted "
            "with: --weights"
        )
    known = facts.seen.calibration
    if known and not is_same(known, calibration(encoder)):
        raise DataError(
            f"model {folder}: expected encoder {encoder.key} to describe the calibration tile as when it was fitted, "
            "found another description; install the versions that model.json names, or fit again"
        )


def apply(
    model: Model,
    slide: Slide,
    *,
    draws: int | None = None,
    seed: int = 0,
    keep_draws: bool = False,
    reporter: Reporter = SILENT,
) -> tuple[AnnData, list[str]]:
    """Predict a slide; its counts, where it has any, are not looked at.

    Args:
        model: the fitted method.
        slide: spots and picture.
        draws: samples of a generative method, the model's own number when None.
        seed: of the draws.
        keep_draws: whether every draw becomes a layer; else their mean and spread alone.
        reporter: where progress goes.

    Returns:
        ``X`` (n_spots, n_genes) the mean of the draws on the model's scale, layer ``spread`` their sample standard
        deviation where there are several; ``obsm["spatial"]``, ``uns["spatial"]`` and ``obs["array_col"]``,
        ``obs["array_row"]`` as scanpy and squidpy draw them; ``var`` with what each gene's predictions are worth where
        that is known. Then in what the slide is unlike those the model was fitted on.

    Raises:
        UserError: the slide lacks what the method needs, or its picture cannot be read.
        RunFailedError: the method failed.
    """
    facts = model.facts
    inputs = _inputs(model, slide, reporter)
    if (reason := unmet(facts.card, [inputs])) is not None:
        raise UserError(f"{facts.method} refuses: {reason}")
    with foreign(facts.method):
        prediction = drawn(model.method, inputs, draws or facts.draws, seed, len(facts.genes))
    doubts = list(strange(facts.seen, slide.um_per_px, inputs.features))
    said = {
        "slide": slide.id, "method": facts.method, "dataset": facts.dataset, "normalization": facts.normalization,
        "model": facts.model, "seed": seed, "n_drawn": len(prediction.draws), "doubts": doubts,
    }  # fmt: skip
    adata = annotated(inputs.xy, slide.spot_ids, facts.genes, prediction, said)
    for layer in [] if keep_draws else [name for name in adata.layers if name != POSTERIOR_MEAN]:
        del adata.layers[layer]
    if len(prediction.draws) > 1:
        adata.layers[SPREAD] = prediction.draws.std(axis=0, ddof=1)
    _place(adata, slide)
    _value(adata, facts)
    return adata, doubts


def _inputs(model: Model, slide: Slide, reporter: Reporter) -> SlideInputs:
    encoder, patches = model.encoder, None
    features = np.empty((slide.n_spots, 0), dtype=np.float32)
    if encoder is not None:
        features = slide_features(slide, encoder, model.patch, model.cache_dir, reporter)
        if slide.image is not None:
            patches = SlidePatches(slide.image, slide.spot_ids, slide.xy, model.patch, model.cache_dir)
    return SlideInputs(
        slide.id, slide.patient, features, slide.xy, slide.array_xy, slide.um_per_px, patches=patches
    )  # fmt: skip


def _place(adata: AnnData, slide: Slide) -> None:
    """What scanpy and squidpy draw a slide by: the array, the reduced picture, its scale and the size of a spot."""
    if (array := slide.array_xy) is not None:
        adata.obs["array_col"], adata.obs["array_row"] = array.T
    adata.uns[SPATIAL] = {slide.id: library(slide.xy, slide)}


def _value(adata: AnnData, facts: ModelFacts) -> None:
    """What every gene is worth; without a measurement none is trusted."""
    import pandas as pd

    if not facts.worth:
        adata.var["trusted"] = False
        return
    table = pd.DataFrame([one.model_dump() for one in facts.worth]).set_index("gene").loc[adata.var_names]
    numbers = [name for name in table if name not in ("control", "trusted")]
    adata.var = table.astype(dict.fromkeys(numbers, float) | {"patients": int})
