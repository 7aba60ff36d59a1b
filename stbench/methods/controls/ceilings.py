"""Ceilings: controls that see how a slide was generated, and so bound what is possible on it.

They bound the squared error from below, and PCC up to the finite number of spots; GSC and SSC of a posterior mean are
no bounds, as averages are smoother than what they average.
"""

from __future__ import annotations

from collections.abc import Sequence

from stbench.data.semisynthetic.ceiling import SCALES, best_from_own_spot
from stbench.data.simulator.ceiling import best_possible
from stbench.data.slide import Slide
from stbench.errors import DataError
from stbench.methods.base import Context, FloatArray, LabelledSlide, Method, SlideInputs


class Ceiling(Method):
    """Predicts from the slide itself; nothing is learnt but what the panel and its scale are."""

    genes_: list[str]
    scale_: str

    def fit(self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context) -> None:
        self.genes_, self.scale_ = list(context.genes), context.scale

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        if inputs.source is None:
            raise DataError(
                f"slide {inputs.slide_id}: expected the slide itself, found none; register the method with kind ceiling"
            )
        return self.best(inputs.source)[None]

    def best(self, slide: Slide) -> FloatArray:
        """(n_spots, n_genes) best possible prediction of a slide, on the scale of the task."""
        raise NotImplementedError


class BestFromImage(Ceiling):
    """Posterior mean given the image and the patient, read without error, of a simulated slide."""

    def best(self, slide: Slide) -> FloatArray:
        return best_possible(slide, self.genes_, self.scale_).visible


class BestFromTruth(Ceiling):
    """Posterior mean given everything but the noise of counting, of a simulated slide."""

    def best(self, slide: Slide) -> FloatArray:
        return best_possible(slide, self.genes_, self.scale_).full


class BestFromOwnSpot(Ceiling):
    """Best guess of a gene from its own noisy value in the features of a semi-synthetic slide."""

    def refuse(self, train: Sequence[LabelledSlide], test: Sequence[SlideInputs], context: Context) -> str | None:
        if context.scale in SCALES:
            return None
        return f"expected a scale on which the features were made, {' or '.join(SCALES)}; found {context.scale}"

    def best(self, slide: Slide) -> FloatArray:
        return best_from_own_spot(slide, self.genes_, self.scale_)
