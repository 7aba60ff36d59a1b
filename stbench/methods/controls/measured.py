"""Rows that are measured on the truth of a slide, without a prediction: ceilings, and references for its domains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from stbench.data.slide import Slide
from stbench.errors import RunFailedError
from stbench.methods.base import Context, FloatArray, LabelledSlide, Method, SlideInputs
from stbench.metrics import Ceiling, Cut, Score, count_split, seed_of, serial_sections


class Measured(Method):
    """Learns and predicts nothing: its rows hold what the truth of every test slide says."""

    predicts: ClassVar[bool] = False

    def fit(self, train: Sequence[LabelledSlide], validation: Sequence[LabelledSlide], context: Context) -> None:
        """Nothing to learn."""

    def predict(self, inputs: SlideInputs, draws: int, seed: int) -> FloatArray:
        raise RunFailedError(f"{type(self).__name__}: expected to be measured on the truth, found a slide to predict")


class MeasuredCeiling(Measured):
    """A ceiling: its row holds what :meth:`measure` says."""

    def measure(self, slide: Slide, neighbours: Sequence[Slide], scale: str) -> Ceiling | None:
        """The best values to be had on a slide.

        Args:
            slide: a test slide with the counts of the panel.
            neighbours: neighbouring cuts with the same panel.
            scale: of expression.

        Returns:
            None where it takes neighbours and there are none.

        Raises:
            DataError: the slide has no raw counts, or no total counts.
        """
        raise NotImplementedError


class CountSplit(MeasuredCeiling):
    """From random halves of a slide's counts (evaluation sheet 1.1); see :func:`stbench.metrics.count_split`."""

    def measure(self, slide: Slide, neighbours: Sequence[Slide], scale: str) -> Ceiling | None:
        return count_split(cut_of(slide), scale, seed=seed_of(slide.id))


class SerialSections(MeasuredCeiling):
    """From neighbouring cuts of the same block; see :func:`stbench.metrics.serial_sections`."""

    def measure(self, slide: Slide, neighbours: Sequence[Slide], scale: str) -> Ceiling | None:
        others = [cut_of(other) for other in neighbours]
        return serial_sections(cut_of(slide), others, scale) if others else None


class References(Measured):
    """What is known of domains without a prediction; see :func:`stbench.metrics.reference_rows`."""

    def measure(self, slide: Slide, scale: str) -> dict[str, dict[str, Score]] | None:
        """Row to metric to score of a test slide with the counts of the panel; None where it carries no domains.

        Raises:
            DataError: the slide has no raw counts, or no total counts.
        """
        if slide.domains is None or not (slide.domains != "").any():
            return None
        from stbench.metrics import reference_rows  # loads scikit-learn, which few commands need

        domains = slide.domains[slide.total_counts > 0]
        return reference_rows(cut_of(slide), domains, scale, seed=seed_of(slide.id))


def cut_of(slide: Slide) -> Cut:
    """Counts and positions of the spots that have any count; in um where the slide says how large a pixel is."""
    filled = slide.total_counts > 0
    unit = slide.um_per_px or 1.0
    return Cut(slide.counts[filled], slide.total_counts[filled], slide.xy[filled] * unit)
