"""Cohorts: cheap lists of slides that are read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from scipy.sparse import issparse

from stbench.data.slide import Slide, SlideRef
from stbench.data.sparse import check_sparse
from stbench.errors import DataError, StbenchError, UnknownNameError
from stbench.text import first_line

SIMULATED = "simulated"  # layout of a simulated cohort, and what its export gives as the technology


@dataclass(frozen=True)
class Cohort:
    """Slides of one study.

    Args:
        name: name of the cohort.
        layout: how it lies on disk: ``her2st``, ``hest``, ``spaceranger``, ``st``, ``h5ad``, ``spatialdata`` or
            ``simulated``.
        refs: slides that can be used, in the card's order.
        reader: reads a slide by its id.
        left_out: slides that cannot be used, with the reason.
        about: how generated data were made, one line; empty for data as they were measured.
        simulated: the slides are of no tissue, wherever they lie.
        tested: slides of another cohort that test and do nothing else, by the ids they have here.
        test_name: name of that other cohort; empty without one.
        secret: SHA-256 of the secret seed that generated data were made with; None where there is none.
        per_fold: training slides and all slides of the fold to a reader, for a cohort that is made anew for every fold;
            None for all others.
        folder: where its files lie, None for generated slides.
        notes: what was found while slides were listed, one line each.
    """

    name: str
    layout: str
    refs: tuple[SlideRef, ...]
    reader: Callable[[str], Slide]
    left_out: Mapping[str, str] = field(default_factory=dict)
    about: str = ""
    simulated: bool = False
    tested: tuple[str, ...] = ()
    test_name: str = ""
    secret: str | None = None
    per_fold: Callable[[tuple[str, ...], tuple[str, ...]], Callable[[str], Slide]] | None = None
    folder: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the slides, in the order of the card."""
        return tuple(ref.id for ref in self.refs)

    def load(self, slide_id: str) -> Slide:
        """Read a slide.

        Raises:
            UnknownNameError: not a usable slide of the cohort.
            DataError: its files do not hold what their format promises.
        """
        if slide_id not in self.ids:
            raise UnknownNameError(f"slide of {self.name}", slide_id, self.ids)
        with guarded(slide_id):
            slide = self.reader(slide_id)
            if issparse(slide.adata.X):  # of a reader that is not ours
                check_sparse(slide.adata.X, "counts", once=False)
            return slide

    def of_fold(self, train: Sequence[str]) -> Cohort:
        """The slides as a fold has them.

        Args:
            train: training slides of the fold, in any order: what is made per fold is made from them alone.
        """
        if self.per_fold is None:
            return self
        return replace(self, reader=self.per_fold(tuple(sorted(train)), self.ids), per_fold=None)


@contextmanager
def guarded(slide_id: str) -> Iterator[None]:
    """Whatever goes wrong with a slide's files in the block is a DataError: one slide never ends the work on others."""
    try:
        yield
    except StbenchError:
        raise
    except Exception as error:
        raise DataError(
            f"slide {slide_id}: expected files as their layout promises, found {type(error).__name__} "
            f"({first_line(error)}) while they were read; obtain them again, or see where with --debug"
        ) from error
