"""The bench of the contract suite: five tiny made-up slides, and a method fitted on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stbench.catalogue import MethodCard
from stbench.data.semisynthetic.ceiling import MADE, NOISY, SHARE
from stbench.data.simulator.ceiling import (
    DEPTH_SD,
    DISPERSION,
    EXPECTED,
    EXPECTED_TOTAL,
    INVISIBLE_SD,
    TRUTH,
    VISIBLE,
    VISIBLE_TOTAL,
)
from stbench.data.slide import SPATIAL, TOTAL_COUNTS, Slide
from stbench.errors import RunFailedError
from stbench.evaluation.needs import unmet
from stbench.evaluation.run import FEATURES, encoder_of
from stbench.evaluation.task import NO_ENCODER
from stbench.evaluation.worker import check_prediction
from stbench.methods.base import Context, LabelledSlide, Method, SlideInputs
from stbench.methods.registry import method_class, resolve_settings

FloatArray = NDArray[np.float32]

SEED = 7
GENES = ("G0", "G1", "G2", "G3", "G4", "G5")
N_FEATURES = 5
_COLUMNS, _ROWS, _PITCH_PX = 6, 4, 200
_TRAIN, _VALIDATION, _TEST = ("P1-a", "P2-a", "P3-a"), ("P2-b",), ("P1-b",)
_PRESETS = ("test", "small")  # the first that the card has


class Bench:
    """A method, the tiny task, and what was fitted once for all checks.

    Args:
        card: the method.
        folder: where checkpoints go.
    """

    def __init__(self, card: MethodCard, folder: Path) -> None:
        self.card, self.folder = card, folder
        self.preset = next((name for name in _PRESETS if name in card.presets), "")
        self._train, self._validation = ([_slide(card, id_) for id_ in part] for part in (_TRAIN, _VALIDATION))
        self.test = _slide(card, _TEST[0]).inputs
        self.draws = 3 if self.samples else 1

    @property
    def samples(self) -> bool:
        """Whether the card declares draws."""
        return self.card.kind == "generative" or self.card.draws > 1

    def slides(self, without: str | None = None) -> tuple[list[LabelledSlide], list[LabelledSlide]]:
        """Training and validation slides in fresh arrays, with one thing withheld if asked."""
        train, validation = ([withheld(slide, without) for slide in part] for part in (self._train, self._validation))
        return train, validation

    def new(self) -> Method:
        """The method under the preset of the suite, unfitted.

        Raises:
            SettingError: the preset does not resolve.
        """
        cls = method_class(self.card)
        return cls(resolve_settings(self.card, cls, self.preset, {}))

    def fit(self, name: str, seed: int = SEED, without: str | None = None) -> Method:
        """A freshly fitted method.

        Raises:
            RunFailedError: the method refuses the task.
        """
        train, validation = self.slides(without)
        method, context = self.new(), self.context(name, seed)
        test = [withheld_inputs(self.test, without)]
        inputs = [*(slide.inputs for slide in (*train, *validation)), *test]
        reason = unmet(self.card, inputs) or method.refuse(train, test, context)
        if reason is not None:
            raise RunFailedError(reason)
        method.fit(train, validation, context)
        return method

    def context(self, name: str, seed: int = SEED) -> Context:
        """On the CPU, with a folder of its own for checkpoints."""
        workdir = self.folder / name
        workdir.mkdir(parents=True, exist_ok=True)
        return Context(genes=GENES, seed=seed, device="cpu", workdir=workdir)

    @cached_property
    def fitted(self) -> Method:
        """The method that all checks share, fitted when first asked for."""
        return self.fit("first")

    def predict(self, method: Method, inputs: SlideInputs | None = None, *, seed: int = SEED) -> FloatArray:
        """A prediction that has passed the checks of shape, type and values."""
        inputs = copied(inputs or self.test)
        found = method.predict(inputs, self.draws, seed)
        n_draws = 1 if np.ndim(found) == 3 and len(found) == 1 else self.draws
        return check_prediction(found, (n_draws, inputs.n_spots, len(GENES)), inputs.slide_id)


WITHHELD: dict[str, Callable[[SlideInputs], dict[str, Any]]] = {
    FEATURES: lambda inputs: {"features": inputs.features[:, :0].copy()},
    "array_xy": lambda _: {"array_xy": None},
    "um_per_px": lambda _: {"um_per_px": None},
    "patient": lambda _: {"patient": None},
    "total_counts": lambda _: {"total_counts": None},
    "oracle_expression": lambda _: {"oracle_expression": None},
    "source": lambda _: {"source": None},
}


def withheld_inputs(inputs: SlideInputs, need: str | None) -> SlideInputs:
    """A copy without one thing that a card may need."""
    copy = copied(inputs)
    return copy if need is None else replace(copy, **WITHHELD[need](copy))


def withheld(slide: LabelledSlide, need: str | None) -> LabelledSlide:
    """A copy of a labelled slide without one thing that a card may need."""
    return LabelledSlide(withheld_inputs(slide.inputs, need), slide.expression.copy())


def copied(inputs: SlideInputs) -> SlideInputs:
    """The same slide in fresh arrays."""
    arrays: dict[str, Any] = {name: array.copy() for name, array in arrays_of(inputs).items()}
    return replace(inputs, **arrays)


def one_spot(inputs: SlideInputs) -> SlideInputs:
    """The first spot alone."""
    arrays: dict[str, Any] = {name: array[:1].copy() for name, array in arrays_of(inputs).items()}
    return replace(inputs, slide_id="one-spot", **arrays)


def arrays_of(slide: LabelledSlide | SlideInputs) -> dict[str, NDArray[Any]]:
    """Arrays of a slide by the names of their fields."""
    inputs = slide.inputs if isinstance(slide, LabelledSlide) else slide
    members = {field.name: getattr(inputs, field.name) for field in fields(inputs)}
    found = {name: value for name, value in members.items() if isinstance(value, np.ndarray)}
    return found | ({"expression": slide.expression} if isinstance(slide, LabelledSlide) else {})


def _slide(card: MethodCard, id_: str) -> LabelledSlide:
    """Features wander smoothly over the array; log rates are linear in them; counts are Poisson."""
    generator = np.random.default_rng([SEED, *id_.encode()])
    array = np.stack(np.meshgrid(np.arange(_COLUMNS), np.arange(_ROWS)), axis=-1).reshape(-1, 2).astype(np.float32)
    waves = np.sin(array @ generator.normal(size=(2, N_FEATURES)) + generator.uniform(0, 6, N_FEATURES))
    features = waves + 0.1 * generator.normal(size=waves.shape)
    slopes = np.random.default_rng(SEED).normal(size=(N_FEATURES, len(GENES)))
    counts = generator.poisson(np.exp(1.5 + 0.4 * features @ slopes))
    blind = encoder_of(card) == NO_ENCODER
    expression, oracle = np.log1p(counts).astype(np.float32), card.kind == "oracle"
    inputs = SlideInputs(
        slide_id=id_,
        patient=id_[:2],
        features=features[:, : 0 if blind else N_FEATURES].astype(np.float32),
        xy=(array + 1) * _PITCH_PX,
        array_xy=array.copy(),
        um_per_px=1.0,
        total_counts=counts.sum(axis=1) + 20.0 if oracle else None,
        oracle_expression=expression.copy() if oracle else None,
        source=_source(id_, counts, array) if card.kind == "ceiling" else None,
    )
    return LabelledSlide(inputs, expression)


def _source(id_: str, counts: NDArray[np.int64], array: FloatArray) -> Slide:
    """A slide that says how it was generated, as simulated and as semi-synthetic ones do."""
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    expected = counts + 1.0
    totals = expected.sum(axis=1) + 20
    adata = AnnData(
        csr_matrix(counts.astype(np.int32)),
        obs=pd.DataFrame(
            {TOTAL_COUNTS: totals, EXPECTED_TOTAL: totals, VISIBLE_TOTAL: totals},
            index=[f"s{i}" for i in range(len(counts))],
        ),
        var=pd.DataFrame({DISPERSION: 5.0, INVISIBLE_SD: 0.1}, index=list(GENES)),
        layers={EXPECTED: expected, VISIBLE: expected, NOISY: np.log1p(counts)},
        obsm={SPATIAL: array * _PITCH_PX},
        uns={TRUTH: {DEPTH_SD: 0.1}, MADE: {SHARE: 0.5}},
    )
    return Slide(id_, id_[:2], adata)
