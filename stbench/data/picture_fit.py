"""Whether a picture lies under its spots: moved about, it must say most of the counts where it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from stbench.data.audit import FAIL, NOTE, OK, AuditRow
from stbench.data.cohort import Cohort
from stbench.data.geometry import neighbour_px
from stbench.data.panel import candidate_genes, hmhvg
from stbench.data.slide import SPATIAL, Slide
from stbench.errors import DataError, UserError
from stbench.reporting import SILENT, Reporter

FloatArray = NDArray[np.float64]

STEPS = 8
LONGEST_PX = 2000
STEP_PX = 16  # of a picture whose longer side has LONGEST_PX: 128 px, about two spots of an array, each way
_WINDOW_UM = 112.0
_GENES = 50
_FEWEST_SPOTS = 50
_MOST_SPOTS = 4000
_BLOCKS = 8
_FOLDS = 5
_ALPHA = 10.0
_CLIP = 5.0
_AWAY = 3  # steps from the best place on, what is found there is chance
_CLEAR = 3.5  # standard deviations above chance
_ACCUSING = 4.5  # the same for a peak elsewhere: to blame a sound slide is worse than not to know
_NEAR = 1  # step: neighbouring places show nearly the same


@dataclass(frozen=True)
class ShiftTest:
    """Scores of a picture at every place it was moved to.

    Args:
        scores: (17, 17) mean correlation over genes of predicted and measured expression, by steps along x and y; the
            middle is where the picture is.
        step_px: a step in full-resolution pixels.
    """

    scores: FloatArray
    step_px: float

    @property
    def best(self) -> tuple[int, int]:
        """Steps along x and y to the place of the highest score."""
        column, row = np.unravel_index(int(np.argmax(self.scores)), self.scores.shape)
        return int(column) - STEPS, int(row) - STEPS

    @property
    def clear(self) -> float:
        """Standard deviations by which the highest score stands above those more than three steps away."""
        column, row = (np.abs(np.arange(-STEPS, STEPS + 1) - place) for place in self.best)
        far = self.scores[np.maximum(column[:, None], row[None]) > _AWAY]
        return float((self.scores.max() - far.mean()) / max(far.std(), 1e-12))

    def row(self, slide_id: str) -> AuditRow:
        """The line of an audit: a clear peak elsewhere is a failure, none at all is nothing to go by."""
        x, y = self.best
        at_zero, median = self.scores[STEPS, STEPS], np.median(self.scores)
        said = f"score {at_zero:.3f} where the picture is, median {median:.3f} of {self.scores.size} places"
        name = f"picture of {slide_id}"
        near = max(abs(x), abs(y)) <= _NEAR
        if self.clear < (_CLEAR if near else _ACCUSING):
            return AuditRow(name, NOTE, f"cannot tell whether it lies under its spots: no clear peak ({said})")
        if near:
            return AuditRow(name, OK, f"lies under its spots ({said})")
        return AuditRow(
            name,
            FAIL,
            f"says most of the counts {x * self.step_px:+.0f} px along x and {y * self.step_px:+.0f} along y from its "
            f"spots ({self.scores.max():.3f} there; {said}): they are shifted against each other, or not of one slide",
        )


def picture_rows(cohort: Cohort, reporter: Reporter = SILENT) -> tuple[AuditRow, ...]:
    """One line for every slide with a whole picture."""
    rows: list[AuditRow] = []
    with reporter.track("moving pictures", len(cohort.refs)) as advance:
        for slide_id in cohort.ids:
            rows += _row_of(cohort, slide_id)
            advance(note=slide_id)
    return tuple(rows)


def _row_of(cohort: Cohort, slide_id: str) -> Iterator[AuditRow]:
    try:
        slide = cohort.load(slide_id)
        if slide.image is not None:
            row = shift_test(slide).row(slide_id)
            yield (
                row
                if row.verdict == OK or not _lies_exchanged(slide)
                else AuditRow(
                    row.check, FAIL, "says most of the counts with x and y of the positions exchanged; exchange them"
                )
            )
    except DataError as error:
        yield AuditRow(f"picture of {slide_id}", NOTE, f"cannot tell whether it lies under its spots: {error}")
    except UserError:
        return  # said where the slide is read


def _lies_exchanged(slide: Slide) -> bool:
    """Whether the picture lies under the spots once x and y of their positions are exchanged."""
    adata = slide.adata.copy()
    adata.obsm[SPATIAL] = slide.xy[:, ::-1]
    found = shift_test(replace(slide, adata=adata))
    return found.clear >= _ACCUSING and found.row(slide.id).verdict == OK


def shift_test(slide: Slide) -> ShiftTest:
    """Move a picture by up to 128 px in steps of 16 px, at 2000 px of its longer side, and score each place.

    A place is scored by a ridge regression from mean and standard deviation of the colours around each spot, in 112 um
    and twice that, to log1p of depth-normalised counts of 50 genes; blocks of neighbouring spots are held out together.

    Raises:
        DataError: only patches are there, the picture cannot be decoded, or there are too few spots or genes.
    """
    if slide.image is None or slide.image.size() is None:
        raise DataError(f"slide {slide.id}: expected a whole picture, found patches or none; put it into wsis/")
    spots = _chosen(slide)
    xy, expression = slide.xy[spots].astype(np.float64), _expression(slide, spots)
    picture = slide.image.thumbnail(LONGEST_PX).astype(np.float32) / np.float32(255)
    scale = max(picture.shape[:2]) / max(slide.image.size() or (1,))
    step = STEP_PX * max(picture.shape[:2]) / LONGEST_PX
    colours = _Colours(picture, _window(slide, xy) * scale)
    fold = _folds(xy)
    moves = np.arange(-STEPS, STEPS + 1) * step
    scores = [[_score(colours.at(xy * scale + (dx, dy)), expression, fold) for dy in moves] for dx in moves]
    return ShiftTest(np.array(scores), step / scale)


def _chosen(slide: Slide) -> NDArray[np.int64]:
    """Spots with counts, at most so many that a slide of bins takes no longer than one of spots."""
    filled = np.flatnonzero(slide.total_counts > 0)
    if len(filled) < _FEWEST_SPOTS:
        raise DataError(f"slide {slide.id}: expected at least {_FEWEST_SPOTS} spots with counts, found {len(filled)}")
    if len(filled) > _MOST_SPOTS:
        filled = np.sort(np.random.default_rng(0).choice(filled, _MOST_SPOTS, replace=False))
    return np.asarray(filled, dtype=np.int64)


def _expression(slide: Slide, spots: NDArray[np.int64]) -> FloatArray:
    """(n_spots, n_genes) log1p of counts brought to the median depth, of the genes that vary most."""
    column = {gene: i for i, gene in enumerate(slide.genes)}
    genes = [column[gene] for gene in candidate_genes(slide.genes)]
    counts = csr_matrix(slide.counts[spots][:, genes])
    moments = counts.log1p()
    mean = np.asarray(moments.mean(axis=0), dtype=np.float64).ravel()
    square = np.asarray(moments.power(2).mean(axis=0), dtype=np.float64).ravel()
    std = np.sqrt(np.maximum(square - mean**2, 0))
    n_genes = min(_GENES, int((std > 0).sum()))
    if n_genes < 2:
        raise DataError(f"slide {slide.id}: expected genes that vary, found {n_genes}")
    panel = csr_matrix(counts[:, list(hmhvg(mean, std, n_genes))]).toarray().astype(np.float64)
    depth = slide.total_counts[spots]
    return np.log1p(panel / depth[:, None] * np.median(depth))


def _window(slide: Slide, xy: FloatArray) -> float:
    """Side of what is looked at around a spot, full-resolution pixels; half a pitch where the pixel size is unknown."""
    if slide.um_per_px is not None:
        return _WINDOW_UM / slide.um_per_px
    near = neighbour_px(xy)
    return 1.0 if near is None else near[1] / 2


class _Colours:
    """Mean and standard deviation of the colours around any place of a picture, in two windows.

    Args:
        picture: (height, width, 3) float32, 0 to 1.
        side: of the smaller window, pixels.
    """

    def __init__(self, picture: NDArray[np.float32], side: float) -> None:
        import cv2

        parts = []
        for extent in (1, 2):
            window = (max(1, round(side * extent)),) * 2
            mean = cv2.blur(picture, window)
            parts += [mean, np.sqrt(np.maximum(cv2.blur(picture * picture, window) - mean * mean, 0))]
        self._maps = np.concatenate(parts, axis=2)

    def at(self, places: FloatArray) -> FloatArray:
        """(n, 12) of places (n, 2), pixels; beyond the rim those of the rim."""
        height, width = self._maps.shape[:2]
        x, y = np.clip(np.rint(places), 0, (width - 1, height - 1)).astype(np.int64).T
        return self._maps[y, x].astype(np.float64)


def _folds(xy: FloatArray) -> NDArray[np.int64]:
    """(n_spots,) fold of every spot: those of 8 x 8 blocks, each with as many columns and rows of spots."""
    inner = np.linspace(0, 1, _BLOCKS + 1)[1:-1]
    column, row = (np.searchsorted(np.quantile(xy[:, axis], inner), xy[:, axis], side="right") for axis in (0, 1))
    return np.asarray((column + 2 * row) % _FOLDS, dtype=np.int64)


def _score(features: FloatArray, expression: FloatArray, fold: NDArray[np.int64]) -> float:
    """Mean correlation over genes of expression and what is predicted of it from the other blocks."""
    predicted = np.empty_like(expression)
    for out in np.unique(fold):
        train, test = fold != out, fold == out
        mean, std = features[train].mean(axis=0), features[train].std(axis=0)
        X, X_test = (
            np.clip((features[rows] - mean) / np.where(std > 0, std, 1), -_CLIP, _CLIP) for rows in (train, test)
        )
        centre = expression[train].mean(axis=0)
        B = np.linalg.solve(X.T @ X + _ALPHA * np.eye(X.shape[1]), X.T @ (expression[train] - centre))
        predicted[test] = X_test @ B + centre
    a, b = predicted - predicted.mean(axis=0), expression - expression.mean(axis=0)
    size = np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))
    return float(((a * b).sum(axis=0) / np.where(size > 0, size, 1)).mean())
