"""A task: what is to be predicted from what. Its hash decides which numbers may be compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stbench.data.image import PatchSpec
from stbench.data.normalize import normalize
from stbench.data.slide import Slide
from stbench.errors import UserError
from stbench.evaluation.gene_sets import GeneSetFile
from stbench.evaluation.given import Given, Secrets, Sight, SlideFacts
from stbench.evaluation.record import TaskFacts
from stbench.features.encoder import Encoder
from stbench.features.encoders import load_encoder
from stbench.features.extract import slide_features
from stbench.features.mapped import HeldArrays, KeptArrays, keep
from stbench.methods.base import SlideInputs
from stbench.reporting import SILENT, Reporter

FloatArray = NDArray[np.float32]

NO_ENCODER = "none"
NO_PATCH = "none (no picture)"


@dataclass(frozen=True)
class TaskSettings:
    """What the user chooses of a task.

    Args:
        genes: size of the panel.
        split: a rule of :func:`stbench.data.splits.split_by_protocol`, or the path of a split file.
        seed: seed of the split.
        normalization: ``log1p``, ``log2p1`` or ``cp10k-log1p``.
        encoder: image encoder by name.
        weights: local weight file of the encoder, for those that need one, or its folder of feature files.
        patch: geometry of the patches; the cohort's default when None.
        validates: whether the slides that the split gives to validation validate; else they train.
        gene_sets: file of gene sets that predictions are scored by too; no part of the task's identity.
    """

    genes: int
    split: str = "slide"
    seed: int = 0
    normalization: str = "log1p"
    encoder: str = "handcrafted-v1"
    weights: Path | None = None
    patch: PatchSpec | None = None
    validates: bool = True
    gene_sets: Path | None = None

    def of(self, fold: str) -> TaskSettings:
        """The same of another split."""
        return replace(self, split=fold)


@dataclass(frozen=True)
class TestSlide:
    """A test slide: what a method may see, and the truth that only scores see.

    Args:
        inputs: what is known without the truth; features of width 0.
        expression: (n_spots, n_genes) float32 on the task's scale.
        total_counts: (n_spots,) UMI per spot over all measured genes.
        spot_ids: names of the spots.
        domains: (n_spots,) names of tissue domains, empty where a spot has none; None when there are no such names.
        genes: (n_genes,) names of the panel; None where they are not known.
        scale: name of the scale of expression; None where it is not known.
        sets: name to genes of the gene sets that the panel can score; None where none are asked for.
    """

    __test__ = False  # not a test case, whatever its name begins with

    inputs: SlideInputs
    expression: FloatArray
    total_counts: NDArray[np.float64]
    spot_ids: list[str]
    domains: NDArray[np.str_] | None = None
    genes: Sequence[str] | None = None
    scale: str | None = None
    sets: Mapping[str, Sequence[str]] | None = None

    def facts(self) -> dict[str, Any]:
        """What metrics may ask for, as keywords of :func:`stbench.metrics.score_slide`."""
        inputs = self.inputs
        found = {"xy": inputs.xy, "log_depth": self.log_depth, "domains": self.domains, "patient": inputs.patient}
        return {**found, "genes": self.genes, "scale": self.scale, "sets": self.sets}

    @property
    def log_depth(self) -> NDArray[np.float64]:
        """(n_spots,) natural log of one plus the UMI of each spot."""
        return np.log1p(self.total_counts)


@dataclass
class Task:
    """A task ready to run; made by :func:`stbench.evaluation.build.build_task`.

    Args:
        facts: what decides whether two numbers may be compared.
        settings: what the user chose.
        patch: geometry of the patches.
        encoder: the task's encoder, of the task's slides.
        gene_sets: that predictions are scored by too, None without.
        seconds: wall time so far of reading (``read``) and of features (``features``), which its runs share.
    """

    facts: TaskFacts
    settings: TaskSettings
    patch: PatchSpec
    encoder: Encoder
    _kept: dict[str, Slide]  # panel columns only
    _device: str = "cpu"
    _cache_dir: Path | None = None
    _reporter: Reporter = SILENT
    gene_sets: GeneSetFile | None = None
    seconds: dict[str, float] = field(default_factory=lambda: {"read": 0.0, "features": 0.0}, init=False)
    _features: dict[str, tuple[str, KeptArrays]] = field(default_factory=dict)
    _expression: dict[str, KeptArrays] = field(default_factory=dict)

    @property
    def test(self) -> list[TestSlide]:
        """The test slides with their truth, in fresh arrays and without features: for scores, never for methods."""
        inputs, truth = self.given(NO_ENCODER).inputs(), self._expression_of("test", self.facts.test).fresh()
        return [self._test_slide(inputs[id_], truth[id_]) for id_ in self.facts.test]

    @property
    def validation(self) -> dict[str, FloatArray]:
        """(n_spots, n_genes) truth of the validation slides, in fresh arrays."""
        labels = self._labels.fresh()
        return {id_: labels[id_] for id_ in self.facts.validation}

    @property
    def _labels(self) -> KeptArrays:
        return self._expression_of("labels", [*self.facts.train, *self.facts.validation])

    def given(self, encoder: str | None = None, sight: Sight = "inputs") -> Given:
        """What a method gets of the task.

        Args:
            encoder: name of the encoder, the task's own when None; ``none`` gives features of width 0.
            sight: what the method sees of the slides it predicts.

        Raises:
            UserError: the encoder or an image cannot be read.
        """
        with self._timing_features():
            key, features = self._encoded(encoder or self.settings.encoder)
        return Given(
            key,
            {id_: self._slide_facts(slide, key) for id_, slide in self._kept.items()},
            features,
            self._labels,
            self.facts.train,
            self.facts.validation,
            self.facts.test,
            self.patch,
            self._cache_dir,
            None if sight == "inputs" else self._secrets(sight),
        )

    def _secrets(self, sight: Sight) -> Secrets:
        expression = self._expression_of("everything", list(self._kept))
        totals = {id_: slide.total_counts for id_, slide in self._kept.items()}
        return Secrets(expression, totals, dict(self._kept) if sight == "everything" else {})

    def _test_slide(self, inputs: SlideInputs, truth: FloatArray) -> TestSlide:
        slide = self._kept[inputs.slide_id]
        return TestSlide(
            inputs,
            truth,
            slide.total_counts,
            slide.spot_ids,
            slide.domains,
            self.facts.genes,
            self.settings.normalization,
            None if self.gene_sets is None else self.gene_sets.within(self.facts.genes),
        )

    def _slide_facts(self, slide: Slide, encoder: str) -> SlideFacts:
        """The picture is for methods that are given features of it anyway."""
        image = None if encoder == NO_ENCODER else slide.image
        patient = self.facts.patients[slide.id]
        return SlideFacts(slide.id, patient, slide.spot_ids, slide.xy, slide.array_xy, slide.um_per_px, image)

    def kept(self, slide_id: str) -> Slide:
        """A slide of the task with the panel's columns, its counts included: for evaluation, never for methods."""
        return self._kept[slide_id]

    @property
    def without_picture(self) -> list[str]:
        """Slides that no encoder of pictures can be used on."""
        return [id_ for id_, slide in self._kept.items() if slide.image is None]

    def _expression_of(self, name: str, ids: Sequence[str]) -> KeptArrays:
        """Expression of some slides, in a file of its own: who holds one part cannot reach another."""
        if name not in self._expression:
            scale, slides = self.settings.normalization, [(id_, self._kept[id_]) for id_ in ids]
            made = ((id_, normalize(slide.counts, slide.total_counts, scale)) for id_, slide in slides)
            self._expression[name] = keep(made, self._cache_dir)
        return self._expression[name]

    def _encoded(self, name: str) -> tuple[str, KeptArrays]:
        if name not in self._features:
            if name == NO_ENCODER:
                empty = {id_: np.empty((slide.n_spots, 0), dtype=np.float32) for id_, slide in self._kept.items()}
                self._features[name] = (NO_ENCODER, HeldArrays(empty.items()))
            else:
                encoder = self.encoder_named(name)
                self._features[name] = (encoder.key, keep(self._encode(encoder), self._cache_dir))
        return self._features[name]

    def encoder_named(self, name: str) -> Encoder:
        """The task's own encoder, or the one that a method is bound to.

        Raises:
            UserError: there is none of that name, or its weights are missing.
        """
        own = name == self.settings.encoder
        return self.encoder if own else load_encoder(name, device=self._device).of(list(self._kept))

    def encode(self, names: Iterable[str]) -> None:
        """Put the features of several encoders into the cache, one slide after the other: each picture is decoded once.

        What cannot be encoded is left to whoever asks for it.
        """
        encoders = [] if self._cache_dir is None else [self._known(name) for name in names]
        if len(known := [encoder for encoder in encoders if encoder is not None]) < 2:
            return
        with self._timing_features(), self._reporter.track("features", len(self._kept)) as advance:
            for id_, slide in self._kept.items():
                with suppress(UserError), nullcontext() if slide.image is None else slide.image.held():
                    for encoder in known:
                        slide_features(slide, encoder, self.patch, self._cache_dir, self._reporter)
                advance(note=id_)

    @contextmanager
    def _timing_features(self) -> Iterator[None]:
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds["features"] += perf_counter() - start

    def _known(self, name: str) -> Encoder | None:
        with suppress(UserError):
            return self.encoder_named(name)
        return None

    @property
    def cache_dir(self) -> Path | None:
        """Folder of the caches, None where nothing is kept."""
        return self._cache_dir

    def _encode(self, encoder: Encoder) -> Iterator[tuple[str, FloatArray]]:
        with self._reporter.track(f"features {encoder.key}", len(self._kept)) as advance:
            for id_, slide in self._kept.items():
                yield id_, slide_features(slide, encoder, self.patch, self._cache_dir, self._reporter)
                advance(note=id_)
