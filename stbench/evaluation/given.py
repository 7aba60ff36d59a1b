"""What a worker is given of a task: slides that train and validate, and of test slides the inputs alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stbench.data.image import ImageSource, PatchSpec
from stbench.data.slide import Slide
from stbench.features.mapped import KeptArrays
from stbench.features.patches import SlidePatches
from stbench.methods.base import LabelledSlide, SlideInputs
from stbench.reporting import SILENT, Reporter

FloatArray = NDArray[np.float32]
Sight = Literal["inputs", "truth", "everything"]
SIGHTS: dict[str, Sight] = {"oracle": "truth", "ceiling": "everything", "reference": "everything"}
"""Kind of a method to what it sees of a slide; every other kind sees the inputs."""


def sight_of(kind: str) -> Sight:
    """What a method of a kind sees of the slides it predicts."""
    return SIGHTS.get(kind, "inputs")


@dataclass(frozen=True)
class SlideFacts:
    """What is known of a slide without its expression.

    Args:
        id: name of the slide.
        patient: key of the patient, None when unknown.
        spot_ids: names of the spots.
        xy: (n_spots, 2) float32 spot centres in full-resolution pixels.
        array_xy: (n_spots, 2) float32 array positions, None when the layout does not give them.
        um_per_px: micrometres per pixel, None when unknown.
        image: the picture, None where there is none or the method may not see it.
    """

    id: str
    patient: str | None
    spot_ids: list[str]
    xy: FloatArray
    array_xy: FloatArray | None
    um_per_px: float | None
    image: ImageSource | None


@dataclass(frozen=True)
class Secrets:
    """What oracles and ceilings see besides.

    Args:
        expression: (n_spots, n_genes) of every slide, on the task's scale.
        total_counts: (n_spots,) UMI per spot of every slide.
        slides: every slide itself, for ceilings; empty for oracles.
    """

    expression: KeptArrays
    total_counts: dict[str, NDArray[np.float64]]
    slides: dict[str, Slide]


@dataclass(frozen=True)
class Given:
    """What a method gets of a task, in arrays that can be handed to another process.

    Args:
        encoder: key of the encoder, ``none`` where features are withheld.
        facts: every slide by name.
        features: (n_spots, d) features of every slide.
        labels: (n_spots, n_genes) expression of training and validation slides; there is none of test slides.
        train: training slides, in order.
        validation: validation slides.
        test: test slides.
        patch: geometry of the patches.
        cache_dir: folder of the patch cache, None keeps patches in memory.
        secrets: what oracles and ceilings see; None for everybody else.
    """

    encoder: str
    facts: dict[str, SlideFacts]
    features: KeptArrays
    labels: KeptArrays
    train: Sequence[str]
    validation: Sequence[str]
    test: Sequence[str]
    patch: PatchSpec
    cache_dir: Path | None = None
    secrets: Secrets | None = None

    def inputs(self, reporter: Reporter = SILENT) -> dict[str, SlideInputs]:
        """Inputs of every slide by name, in fresh arrays a method may do with as it likes.

        Args:
            reporter: is told of damaged patches in the cache.
        """
        features = self.features.fresh()
        truth = {} if self.secrets is None else self.secrets.expression.fresh()
        return {id_: self._inputs(facts, features[id_], truth.get(id_), reporter) for id_, facts in self.facts.items()}

    def labelled(self, inputs: dict[str, SlideInputs]) -> tuple[list[LabelledSlide], list[LabelledSlide]]:
        """Training and validation slides, with the inputs of :meth:`inputs`."""
        labels = self.labels.fresh()
        train, validation = (
            [LabelledSlide(inputs[id_], labels[id_]) for id_ in part] for part in (self.train, self.validation)
        )
        return train, validation

    def _inputs(
        self, facts: SlideFacts, features: FloatArray, truth: FloatArray | None, reporter: Reporter
    ) -> SlideInputs:
        secrets = self.secrets
        return SlideInputs(
            slide_id=facts.id,
            patient=facts.patient,
            features=features,
            xy=facts.xy.copy(),
            array_xy=None if facts.array_xy is None else facts.array_xy.copy(),
            um_per_px=facts.um_per_px,
            total_counts=None if secrets is None else secrets.total_counts[facts.id].copy(),
            oracle_expression=truth,
            source=None if secrets is None else secrets.slides.get(facts.id),
            patches=self._patches(facts, reporter),
        )

    def _patches(self, facts: SlideFacts, reporter: Reporter) -> SlidePatches | None:
        if facts.image is None:
            return None
        return SlidePatches(facts.image, facts.spot_ids, facts.xy, self.patch, self.cache_dir, reporter)
