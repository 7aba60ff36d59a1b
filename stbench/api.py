"""stbench from Python: the words of the commands as arguments, values in place of files and printed tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from stbench.data.cohort import Cohort
from stbench.data.hdf5 import read_h5ad
from stbench.data.opening import open_dataset
from stbench.data.slide import SPATIAL, Slide
from stbench.errors import SettingError
from stbench.evaluation.apply import open_model
from stbench.evaluation.asked import choose_device
from stbench.evaluation.checked import checked
from stbench.evaluation.export import library
from stbench.evaluation.gene_sets import GeneSetFile
from stbench.evaluation.plan import plan
from stbench.evaluation.predict import predict as predict_slides
from stbench.evaluation.predict import wanted_by
from stbench.evaluation.predict_request import H5AD, PredictRequest
from stbench.evaluation.public import marked, read_published
from stbench.evaluation.record import Record
from stbench.evaluation.request import BOARDS, Request, default_cache
from stbench.evaluation.rescore import Truths
from stbench.evaluation.submit import beside
from stbench.evaluation.submit import submit as write_submission
from stbench.evaluation.tuned import choices_in
from stbench.grids.cells import Cell, Outcome, SilentListener, record_of
from stbench.grids.plan import carry_out, choose_folder, open_work, run_grid
from stbench.pages import leaderboard as pages
from stbench.pages.archive import read_records
from stbench.pages.plots.draw import Pictures
from stbench.pages.plots.material import Material
from stbench.pages.report.write import OUT, write_report
from stbench.reporting import SILENT, Reporter
from stbench.studies.tuning.plan import choose_study, plan_tuning
from stbench.studies.tuning.report import write_study
from stbench.studies.tuning.request import TuneRequest
from stbench.studies.tuning.study import Hands, carry_out_study
from stbench.text import listed

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Runs:
    """What :func:`run` leaves.

    Args:
        out: folder of the records, predictions and fitted methods.
        records: of every cell that was carried out, controls and ceilings included.
        troubles: folder of a cell that was refused or failed, to why.
    """

    out: Path
    records: Sequence[Record]
    troubles: Mapping[str, str]


def run(
    method: str | Sequence[str], *, out: Path | str | None = None, jobs: int = 1, reporter: Reporter = SILENT,
    **options: Any,
) -> Runs:  # fmt: skip
    """Fit, predict, score and record methods and the usual controls, as ``stbench run`` does.

    Args:
        method: registered name or ``path/to/file.py:Class``, or several.
        out: folder; the same call continues what lies in it. ``runs/`` and a name of the settings when None.
        jobs: worker processes.
        reporter: where messages go.
        options: the command's options with underscores (``dataset``, ``genes``, ``split``, ``normalize`` ...); several
            values as a list, ``set`` and ``simulate`` as a mapping.

    Returns:
        The records, and what went wrong in single cells.

    Raises:
        UserError: an option is wrong, data are not there, or the folder belongs to something else.
    """
    request = Request.of_words({"method": [method] if isinstance(method, str) else list(method), **options})
    if jobs < 1:
        raise SettingError(f"jobs: expected at least 1 worker, found {jobs}")
    grid = run_grid(plan(request, default_cache(), reporter))
    work = open_work(grid, choose_folder(grid, None if out is None else Path(out)))
    outcomes = carry_out(grid, work, jobs, _Telling(reporter))
    records = [record for cell in work.cells if (record := record_of(work.out, cell)) is not None]
    wrong = {folder: f"{end.status}: {end.reason}" for folder, end in outcomes.items() if end.status != "done"}
    return Runs(work.out, records, wrong)


@dataclass(frozen=True)
class Tuned:
    """What :func:`tune` leaves; ``run(..., tuned=study.out)`` takes it.

    Args:
        out: folder of the trials and of what was chosen.
        settings: outer fold and method to the chosen settings over the preset's, none where all trials failed.
        gains: outer fold and method to what preset and chosen trial gain on the best control, mean over inner folds, in
            the objective of the method's card; the preset's is None where it failed.
        troubles: methods in an outer fold all of whose trials failed, with the reasons.
    """

    out: Path
    settings: Mapping[tuple[str, str], Mapping[str, Any]]
    gains: Mapping[tuple[str, str], tuple[float | None, float]]
    troubles: Sequence[str]


def tune(
    method: str | Sequence[str], *, out: Path | str | None = None, jobs: int = 1, reporter: Reporter = SILENT,
    **options: Any,
) -> Tuned:  # fmt: skip
    """Tune methods on inner folds of the slides that an outer fold trains on, as ``stbench tune`` does.

    Args:
        method: registered name or ``path/to/file.py:Class``, or several.
        out: folder; the same call continues what lies in it. ``runs/`` and a name of the settings when None.
        jobs: worker processes, and so trials of a method at once.
        reporter: gets a line for every trial.
        options: the command's options with underscores (``trials``, ``minutes``, ``dataset``, ``split`` ...).

    Returns:
        What was chosen; the folder also holds a page, every trial as CSV and a figure.

    Raises:
        UserError: an option or a card's space is wrong, slides are too few, or the folder belongs to something else.
    """
    names = [method] if isinstance(method, str) else list(method)
    request = TuneRequest.of_words({"method": names, **options})
    if jobs < 1:
        raise SettingError(f"jobs: expected at least 1 worker, found {jobs}")
    planned = plan_tuning(request, Path(), default_cache(), reporter)
    study = choose_study(planned, None if out is None else Path(out))
    troubles = carry_out_study(study, Hands(jobs, SilentListener(), reporter))
    write_study(study.out)
    chosen = {place: one.tuned for place, one in choices_in(study.out).items()}
    gains = {place: (one.default, one.value) for place, one in chosen.items()}
    return Tuned(study.out, {place: one.settings for place, one in chosen.items()}, gains, troubles)


class _Telling(SilentListener):
    """Tells a reporter what a grid says."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def said(self, cell: Cell, message: str) -> None:
        self._reporter.info(f"{cell.row}: {message}")

    def finished(self, cell: Cell, outcome: Outcome) -> None:
        self._reporter.info(f"{cell.folder}: {outcome.status}")


def leaderboard(
    *runs: Runs | Record | Path | str, metrics: Sequence[str] | None = None, check: Sequence[Path | str] = (),
    data_root: Path | str | None = None, secret: Path | str | None = None, reporter: Reporter = SILENT,
) -> str:  # fmt: skip
    """The page that ``stbench leaderboard`` writes: markdown, a pure function of the records.

    Args:
        runs: what :func:`run` gave, records, or folders and files of records.
        metrics: columns, in order; the usual when None.
        check: folders that :func:`submit` wrote, which are scored again; their rows are marked re-scored.
        data_root: folder that holds one folder per cohort, for what is checked.
        secret: file of the seed of generated slides that were made with one, for the same.
        reporter: where the progress of scoring goes.

    Raises:
        UserError: no record in a folder, records that contradict each other, an unknown metric, or what is checked is
            not as it claims.
    """
    records: list[Record] = []
    root, seed = (None if path is None else Path(path) for path in (data_root, secret))
    for folder in check:
        _, found = checked(Path(folder), root, default_cache(), reporter, seed)
        records += [one.record for one in found]
    for one in runs:
        if isinstance(one, Record):
            records.append(one)
        else:
            records += one.records if isinstance(one, Runs) else read_records([Path(one)])
    return pages.leaderboard(marked(records, read_published(BOARDS)), metrics=metrics)


def submit(
    run: Runs | Path | str, *, licence: str, out: Path | str | None = None, methods: Sequence[str] = (),
    contact: str = "",
) -> Path:  # fmt: skip
    """Write a folder of records and predictions that others can score again, as ``stbench submit`` does.

    Args:
        run: what :func:`run` gave, or the folder of a run.
        licence: of the predictions, an SPDX expression.
        out: new or empty folder; beside the run when None.
        methods: names of those to hand in; those that the run was asked for when empty.
        contact: whom to ask, one line.

    Returns:
        The folder.

    Raises:
        UserError: a run is not finished, cannot be scored again by others, or an argument is wrong.
    """
    folder = run.out if isinstance(run, Runs) else Path(run)
    target = beside(folder) if out is None else Path(out)
    write_submission(folder, target, licence=licence, contact=contact, methods=methods)
    return target


def plot(
    *runs: Runs | Path | str, out: Path | str = "plots", kinds: Sequence[str] | None = None, genes: Sequence[str] = (),
    slide: str | None = None, data_root: Path | str | None = None, secret: Path | str | None = None,
    gene_sets: Path | str | None = None, gene_set: str | None = None, reporter: Reporter = SILENT,
) -> list[Path]:  # fmt: skip
    """Draw finished runs as ``stbench plot`` does.

    Args:
        runs: what :func:`run` gave, or folders of runs.
        out: folder for the pictures.
        kinds: as ``stbench plot --kind`` (``maps``, ``network`` ...); all that the runs allow when None.
        genes: of the panel; the best, the median and the worst predicted when empty.
        slide: that is shown, the first test slide when None.
        data_root: folder that holds one folder per cohort.
        secret: file of the seed of generated slides that were made with one.
        gene_sets: file of gene sets.
        gene_set: the one whose genes alone the network shows.
        reporter: where progress and what is left out go.

    Returns:
        The files written.

    Raises:
        UserError: an unknown kind, gene or slide, a damaged prediction, or a kind asked for that is not possible.
    """
    places = [one.out if isinstance(one, Runs) else Path(one) for one in runs]
    root, seed = (None if path is None else Path(path) for path in (data_root, secret))
    material = Material.at(places, Truths(root, default_cache(), reporter, seed))
    sets = None if gene_sets is None else GeneSetFile.read(Path(gene_sets))
    return Pictures(material, Path(out), slide, genes, reporter, sets, gene_set).draw(kinds)


def report(
    *runs: Runs | Path | str, out: Path | str = OUT, genes: Sequence[str] = (), data_root: Path | str | None = None,
    secret: Path | str | None = None, reporter: Reporter = SILENT,
) -> list[Path]:  # fmt: skip
    """Write the page of a board as ``stbench report`` does; of several boards an index, and a page for each beside it.

    Args:
        runs: what :func:`run` gave, or folders of runs or boards, or archives of records.
        out: the page.
        genes: that must be among the maps.
        data_root: folder that holds one folder per cohort.
        secret: file of the seed of generated slides that were made with one.
        reporter: where progress and what is left out go.

    Returns:
        The files written, that of ``out`` first.

    Raises:
        UserError: no finished run, a gene in no panel, a damaged prediction, or ``out`` cannot be written.
    """
    places = [one.out if isinstance(one, Runs) else Path(one) for one in runs]
    root, seed = (None if path is None else Path(path) for path in (data_root, secret))
    truths = Truths(root, default_cache(), reporter, seed)
    return write_report(places, Path(out), truths, published=read_published(BOARDS), genes=genes, reporter=reporter)


def predict(
    model: Path | str, slide: Path | str | Sequence[Path | str] = (), *, out: Path | str | None = None,
    reporter: Reporter = SILENT, **options: Any,
) -> dict[str, AnnData]:  # fmt: skip
    """Predict slides with a fitted method, as ``stbench predict`` does; no counts are looked at.

    Args:
        model: folder that ``stbench fit`` wrote, or of a cell of :func:`run`.
        slide: picture, folder of pictures, or with ``dataset`` a slide of it by name; or several.
        out: file or folder that predictions are written to as well.
        reporter: where messages go, among them in what a slide is unlike those that the model has seen.
        options: the command's options with underscores (``dataset``, ``um_per_px``, ``pitch``, ``draws`` ...).

    Returns:
        Slide to its predictions: ``X`` (n_spots, n_genes) the mean of the draws on the model's scale, the rest as
        :func:`stbench.evaluation.apply.apply` says.

    Raises:
        UserError: an option is wrong, the model is damaged, or a slide cannot be read or predicted.
    """
    slides = [slide] if isinstance(slide, str | Path) else list(slide)
    with TemporaryDirectory() as nowhere:
        said = {"model": Path(model), "slide": [str(one) for one in slides], "out": Path(out or nowhere), **options}
        request = PredictRequest.of_words(said)
        request.check()
        if request.to != H5AD:
            raise SettingError(f"to: expected {H5AD}, found {request.to!r}; stbench predict --to writes other forms")
        device = choose_device(request.device)
        opened = open_model(request.model, weights=request.weights, device=device, cache_dir=default_cache())
        wanted = wanted_by(request, opened)
        predict_slides(
            opened, wanted, draws=request.draws, seed=request.seeds[0], keep_draws=request.keep_draws, reporter=reporter
        )
        return {one.name: read_h5ad(one.out) for one in wanted}


def read_slide(dataset: Path | str, slide: str | None = None, *, picture_px: int = 1000, **options: Any) -> AnnData:
    """A slide of a cohort in any layout, as scanpy and squidpy draw it.

    Args:
        dataset: registered name, folder or file.
        slide: its name; may be left out where there is one alone.
        picture_px: longest side of the picture that comes along.
        options: ``data_root``, ``patients``, ``genes_table``, ``simulate`` as in :func:`run`.

    Returns:
        ``X`` (n_spots, n_genes) CSR int32, UMI; ``obsm["spatial"]`` (n_spots, 2) spot centres in full-resolution
        pixels; ``uns["spatial"]`` picture and scale factors; ``uns["stbench"]`` slide, patient, ``um_per_px`` and what
        was left out or repaired.

    Raises:
        UserError: no such slide, or its files do not hold what their format promises.
    """
    asked = Request.of_words({"dataset": str(dataset), **options})
    cohort, _ = open_dataset(
        asked.dataset, asked.data_root, asked.simulate, default_cache(), require_image=False, patients=asked.patients,
        genes_table=asked.genes_table,
    )  # fmt: skip
    return _as_anndata(cohort.load(_only(cohort) if slide is None else slide), picture_px)


def _only(cohort: Cohort) -> str:
    if len(cohort.ids) != 1:
        raise SettingError(f"slide: expected one of {listed(cohort.ids) or 'none'}, found none named; name one")
    return cohort.ids[0]


def _as_anndata(slide: Slide, picture_px: int) -> AnnData:
    adata = slide.adata.copy()
    said = {"slide": slide.id, "patient": slide.patient or "", "notes": list(slide.notes)}
    adata.uns["stbench"] = said if slide.um_per_px is None else {**said, "um_per_px": slide.um_per_px}
    adata.uns[SPATIAL] = {slide.id: library(slide.xy, slide, picture_px)}
    return adata
