"""From a cohort and what the user chose to a task: split, panel, what a run keeps of the slides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from scipy.sparse import csr_matrix

from stbench.catalogue import DatasetCard
from stbench.data.cohort import Cohort
from stbench.data.crossing import split_across
from stbench.data.findings import Findings, spots_unlike_card
from stbench.data.gene_names import excluded_genes
from stbench.data.image import PatchSpec
from stbench.data.normalize import DESCRIPTIONS, check_normalization
from stbench.data.panel import Moments, Panel, candidate_genes, hmhvg
from stbench.data.parts import PARTS, Split
from stbench.data.same_tissue import SameTissue
from stbench.data.slide import Slide
from stbench.data.splits import is_protocol, leak_fraction, read_split, rule_of, split_by_protocol
from stbench.errors import DataError
from stbench.evaluation.gene_sets import GeneSetFile
from stbench.evaluation.identity import data_digest, default_patch, patch_text, protocol_hash, slide_digest, task_hash
from stbench.evaluation.kept import keep_panel
from stbench.evaluation.record import TaskFacts
from stbench.evaluation.task import NO_PATCH, Task, TaskSettings
from stbench.features.encoder import Encoder
from stbench.features.encoders import load_encoder
from stbench.metrics.summary import uninstalled
from stbench.reporting import SILENT, Reporter
from stbench.text import listed


def build_task(
    cohort: Cohort,
    card: DatasetCard,
    settings: TaskSettings,
    cache_dir: Path | None = None,
    reporter: Reporter = SILENT,
    device: str = "cpu",
    encoder: Encoder | None = None,
    split: Split | None = None,
) -> Task:
    """Split a cohort, choose its panel on the training slides and keep what a run needs.

    The cohort is read twice, one slide in memory at a time: first for the gene names of all slides and the moments of
    the training ones, then for the columns of the panel. The candidates of the panel are the genes that every slide
    names, test slides included: names are no labels. What is ranked is training counts alone. Slides of another cohort
    that test have no say in it: genes that they lack leave the panel once it is chosen.

    Args:
        cohort: the slides.
        card: the cohort's card.
        settings: what the user chose.
        cache_dir: folder of the feature cache, None computes anew.
        reporter: where progress goes.
        device: torch device of the encoder; no part of the task's identity.
        encoder: the encoder the settings name where somebody has it already, so that it is loaded once.
        split: who trains, validates and tests; what the settings name when None.

    Returns:
        The task. Features are extracted when a method first asks for them.

    Raises:
        UserError: the split, the panel or a slide is not possible; the message says where.
    """
    start = perf_counter()
    check_normalization(settings.normalization)
    patch = settings.patch or default_patch(card)
    encoder = encoder or load_encoder(settings.encoder, weights=settings.weights, device=device)
    split = split or make_split(cohort, settings)
    encoder = encoder.of(split.slides)
    cohort = cohort.of_fold(split.train)
    panel = choose_panel(cohort, split, settings.genes, reporter)
    if panel.lacking:
        reporter.info(f"panel: {panel.loss(cohort.test_name)}")
    kept = keep_panel(_read(cohort, sorted(split.slides), "reading the panel", reporter), panel.genes, cache_dir)
    for line in spots_unlike_card(kept.values(), card.slides):
        reporter.info(f"note: {line}")
    _check_panel_apart(kept.values(), split)
    facts = _facts(cohort, card, settings, split, panel, list(kept.values()), encoder, patch)
    sets = None if settings.gene_sets is None else GeneSetFile.read(settings.gene_sets)
    for line in _notes(sets, facts, kept.values()):
        reporter.info(line)
    task = Task(facts, settings, patch, encoder, kept, device, cache_dir, reporter, sets)
    task.seconds["read"] = perf_counter() - start
    return task


def _notes(sets: GeneSetFile | None, facts: TaskFacts, slides: Iterable[Slide]) -> list[str]:
    """What scores will lack: gene sets that the panel is too small for, metrics of real domains without their extra."""
    said = "" if sets is None else sets.note(facts.genes)
    without = uninstalled() if facts.origin == "real" and any(slide.domains is not None for slide in slides) else ""
    return [line for line in (said, without) if line]


def make_split(cohort: Cohort, settings: TaskSettings) -> Split:
    """The split the settings name; raises UserError where it is not possible on the cohort."""
    validates = settings.validates
    if cohort.tested:
        return split_across(cohort, settings.split, settings.seed, validates=validates)
    if is_protocol(settings.split):
        return split_by_protocol(settings.split, cohort.refs, settings.seed, cohort.left_out, validates=validates)
    return read_split(Path(settings.split), cohort.refs, cohort.left_out, validates=validates)


def _read(cohort: Cohort, ids: Sequence[str], what: str, reporter: Reporter) -> Iterator[Slide]:
    with reporter.track(what, len(ids)) as advance:
        for id_ in ids:
            yield cohort.load(id_)
            advance(note=id_)


def choose_panel(cohort: Cohort, split: Split, n_genes: int, reporter: Reporter = SILENT) -> Panel:
    """The panel: named by every slide of the cohort that trains, ranked on the training slides alone.

    Every slide is read, and what was found on them is said.

    Raises:
        DataError: the training slides have no spot, a slide names its genes unlike the others, or one that tests is a
            copy of another.
        UserError: the panel is not possible, or another cohort that tests names fewer than two genes of it.
    """
    train, others = sorted(split.train), sorted(split.validation + split.test)
    common: set[str] | None = None
    there: set[str] | None = None
    excluded: set[str] = set()
    moments, findings = Moments([]), Findings()
    tissues = SameTissue(pictures=not cohort.simulated)  # simulated slides are drawn one by one, all on one grid
    for slide in _read(cohort, train + others, "reading gene names", reporter):
        findings.add(slide)
        tissues.add(slide)
        excluded |= excluded_genes(slide)
        if common is None:
            moments = Moments(candidate_genes(slide.genes))
            common = set(moments.genes)
        if slide.id in cohort.tested:
            there = set(slide.genes) if there is None else there & set(slide.genes)
            continue
        common &= set(slide.genes)
        if slide.id in split.train:
            moments.update(_aligned(slide, moments.genes))
    for line in (*findings.lines(), *tissues.notes(split)):
        reporter.info(f"note: {line}")
    tissues.check(split)
    if not moments.n_spots:
        raise DataError(
            f"expected training slides with spots, found none on {listed(train)}; leave these out or mend their files"
        )
    shared = [i for i, gene in enumerate(moments.genes) if gene in (common or ()) and gene not in excluded]
    findings.genes.check(len(shared), n_genes)
    chosen = hmhvg(moments.mean[shared], moments.std[shared], n_genes)
    panel = Panel.of([moments.genes[shared[i]] for i in chosen], there)
    panel.check(cohort.test_name)
    return panel


def _check_panel_apart(slides: Iterable[Slide], split: Split) -> None:
    """Copies with other genes beside those of the panel; raises DataError as :meth:`SameTissue.check` does."""
    tissues = SameTissue(pictures=False)
    for slide in slides:
        tissues.add(slide)
    tissues.check(split)


def _aligned(slide: Slide, genes: Sequence[str]) -> csr_matrix:
    """(n_spots, len(genes)) counts; genes the slide lacks are zero here and no candidates later."""
    column = {gene: i for i, gene in enumerate(genes)}
    pairs = [(i, column[gene]) for i, gene in enumerate(slide.genes) if gene in column]
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    pick = csr_matrix((np.ones(len(pairs), dtype=np.int64), (rows, columns)), shape=(len(slide.genes), len(genes)))
    return csr_matrix(slide.counts @ pick)


def _facts(
    cohort: Cohort,
    card: DatasetCard,
    settings: TaskSettings,
    split: Split,
    panel: Panel,
    kept: Sequence[Slide],
    encoder: Encoder,
    patch: PatchSpec,
) -> TaskFacts:
    patient = {ref.id: ref.patient for ref in cohort.refs}
    patients = {slide.id: patient[slide.id] for slide in kept}
    genes = panel.genes
    parts = {part: sorted(getattr(split, part)) for part in PARTS}
    digest = data_digest({slide.id: slide_digest(slide) for slide in kept})
    unused = {id_: "not named by the split" for id_ in cohort.ids if id_ not in patients}
    identity = task_hash(
        dataset=cohort.name,
        genes=genes,
        **parts,
        patients=patients,
        normalization=settings.normalization,
        encoder=encoder.key,
        patch=patch,
        digest=digest,
    )
    rule = rule_of(settings.split) if is_protocol(settings.split) else Path(settings.split).name
    shared = protocol_hash(
        dataset=cohort.name,
        about=cohort.about,
        rule=rule,
        seed=settings.seed,
        n_genes=len(genes),
        encoder=encoder.key,
        patch=patch,
        patients=patients,
        validates=settings.validates,
    )
    return TaskFacts(
        hash=identity,
        rule=rule,
        protocol_hash=shared,
        dataset=cohort.name,
        test_dataset=cohort.test_name,
        simulated=card.simulated,
        semi_synthetic=card.semi_synthetic,
        about=cohort.about,
        secret=cohort.secret,
        n_genes=len(genes),
        genes=genes,
        lacking=list(panel.lacking),
        normalization=f"{settings.normalization}: {DESCRIPTIONS[settings.normalization]}",
        encoder=encoder.key,
        feature_files=dict(encoder.sources),
        patch=patch_text(patch) if any(slide.image is not None for slide in kept) else NO_PATCH,
        protocol=settings.split if is_protocol(settings.split) else Path(settings.split).name,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        validates=settings.validates,
        patients=patients,
        leak_fraction=leak_fraction(split, cohort.refs),
        left_out={**cohort.left_out, **unused},
        n_spots={slide.id: slide.n_spots for slide in kept},
        data_digest=digest,
    )
