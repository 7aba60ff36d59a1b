"""Vectors of a gene foundation model for the panel and the training slides of a task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stbench.data.cohort import Cohort
from stbench.data.slide import Slide
from stbench.evaluation.asked import check_split, choose_device, open_asked, split_settings
from stbench.evaluation.build import choose_panel, make_split
from stbench.evaluation.exposure import Exposure, Used, exposure
from stbench.evaluation.plan import origin_of
from stbench.evaluation.pretrained import scored_by
from stbench.evaluation.request import Request, default_cache
from stbench.files import sha256_of
from stbench.priors.extract import Context, extract_prior
from stbench.priors.models import GeneModel, ModelOptions, checkpoint_of, load_model
from stbench.priors.origin import WEIGHTS_HASH
from stbench.reporting import SILENT, Reporter


@dataclass(frozen=True)
class PriorRequest:
    """What the user asks of ``stbench prior``.

    Args:
        model: name of the gene model.
        options: its files and switches.
        task: dataset, panel size and split; the rest changes nothing.
        context: whether the model sees the panel's genes alone or all measured ones.
        budget_gb: largest size of one slide's file.
    """

    model: str
    options: ModelOptions
    task: Request
    context: Context = "panel"
    budget_gb: float = 50.0


@dataclass(frozen=True)
class PriorMade:
    """What was written.

    Args:
        model: the model, with what it knows of the panel.
        panel: genes in panel order.
        slides: training slides that have vectors.
        exposure: what the model has seen of the cohort.
    """

    model: GeneModel
    panel: list[str]
    slides: list[str]
    exposure: Exposure


def make_prior(request: PriorRequest, out: Path, reporter: Reporter = SILENT) -> PriorMade:
    """Choose the panel as a run of the same split does, and write vectors for the training slides.

    Validation and test slides are never read for it: their expression must not reach a method.

    Args:
        request: what the user asked for.
        out: folder of the vectors; give it to FLAG as ``prior=file:FOLDER``.
        reporter: where progress goes.

    Raises:
        UserError: a name, a file or the split is wrong, or the folder holds something else.
    """
    asked = request.task
    check_split(asked)
    device = choose_device(asked.device)
    cohort, card = open_asked(asked, default_cache(), reporter, require_image=False)
    split = make_split(cohort, split_settings(asked))
    cohort = cohort.of_fold(split.train)
    panel = list(choose_panel(cohort, split, asked.genes[0], reporter).chosen)  # runs on other cohorts lose some of it
    model = load_model(request.model, request.options, panel, device)
    digest = sha256_of(checkpoint_of(request.model, request.options.weights))
    about = {
        "dataset": cohort.name,
        "split": asked.split,
        "split_seed": asked.split_seed,
        "train": sorted(split.train),
        "weights": request.options.weights.name,
        WEIGHTS_HASH: digest,
        "layer": request.options.layer,
        "include_zero": request.options.include_zero,
    }
    slides = extract_prior(
        model,
        _read(cohort, sorted(split.train)),
        panel,
        out,
        context=request.context,
        about=about,
        budget_gb=request.budget_gb,
        reporter=reporter,
    )
    scored = scored_by(cohort, origin_of(card), asked)
    return PriorMade(model, panel, slides, exposure([Used("gene model", request.model, digest)], scored))


def _read(cohort: Cohort, ids: list[str]) -> Iterator[Slide]:
    for id_ in ids:
        yield cohort.load(id_)
