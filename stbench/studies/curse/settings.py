"""What a user asks of ``stbench curse``, and the command that repeats it. Light: the command line's help reads it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from stbench.errors import SettingError

PANEL_SIZES = (10, 50, 100, 200, 400, 800)
"""The sizes of the paper's Figures 2a and 4."""
MIN_GENES, MIN_SIZES, MIN_SPOTS, MAX_SPOTS, MIN_REPEATS = 3, 3, 3, 40, 2
PANELS_PER_DIMENSION, MIN_PANELS, MAX_PANELS = 10, 200, 2000


@dataclass(frozen=True)
class CurseSettings:
    """Everything of the study that can move a number, and where the data lie.

    Args:
        genes: panel sizes in rising order; None takes the paper's, and of these the ones that fit the cohort.
        spots: spots of one window, N of Appendix E.
        seed: seed of everything random.
        repeats: independent repetitions of the whole measurement; each gives slopes of its own.
        dataset: registered name or a folder; None leaves the cohort out.
        simulate: ``key=value`` of the simulated cohort.
        data_root: folder that holds one folder per registered cohort.

    Raises:
        SettingError: a value out of range, fewer than three sizes, or sizes not rising.
    """

    genes: tuple[int, ...] | None = None
    spots: int = 10
    seed: int = 0
    repeats: int = 10
    dataset: str | None = None
    simulate: tuple[str, ...] = ()
    data_root: Path | None = None

    def __post_init__(self) -> None:
        if self.genes is not None:
            _check_sizes(self.genes)
        if not MIN_SPOTS <= self.spots <= MAX_SPOTS:
            raise SettingError(
                f"--spots: expected {MIN_SPOTS} to {MAX_SPOTS} (every pair of spots is a dimension), found {self.spots}"
            )
        if self.repeats < MIN_REPEATS:
            raise SettingError(f"--repeats: expected at least {MIN_REPEATS} for an interval, found {self.repeats}")
        if self.seed < 0:
            raise SettingError(f"--seed: expected 0 or more, found {self.seed}")
        if self.simulate and self.dataset is None:
            raise SettingError("--simulate: expected only with --dataset simulated, found without; leave it out")

    @property
    def sizes(self) -> tuple[int, ...]:
        return PANEL_SIZES if self.genes is None else self.genes

    @property
    def panels(self) -> int:
        """Panels (Gaussian part) or pairs of disjoint panels (cohort) per size, window and repeat.

        Ten per dimension of the edge space, within 200 and 2,000: the smallest eigenvalue of their covariance is
        what the sharpness is made of.
        """
        wanted = PANELS_PER_DIMENSION * self.spots * (self.spots + 1) // 2
        return min(MAX_PANELS, max(MIN_PANELS, wanted))

    def command(self) -> str:
        """The command that repeats the study. Where data and results lie is left to who repeats it."""
        words = ["stbench", "curse"]
        words += ["--dataset", self.dataset] if self.dataset else []
        words += ["--genes", ",".join(map(str, self.genes))] if self.genes else []
        words += ["--spots", str(self.spots), "--seed", str(self.seed), "--repeats", str(self.repeats)]
        return shlex.join(words + [word for text in self.simulate for word in ("--simulate", text)])


def parse_sizes(text: str | None) -> tuple[int, ...] | None:
    """``10,50,100`` as panel sizes in rising order.

    Raises:
        SettingError: not whole numbers separated by commas.
    """
    if text is None:
        return None
    try:
        return tuple(sorted(int(word) for word in text.split(",")))
    except ValueError:
        raise SettingError(f"--genes: expected panel sizes such as 10,50,100, found {text!r}") from None


def _check_sizes(genes: tuple[int, ...]) -> None:
    if len(set(genes)) < MIN_SIZES or len(set(genes)) < len(genes):
        said = ",".join(map(str, genes))
        raise SettingError(f"--genes: expected at least {MIN_SIZES} different sizes to fit an exponent, found {said}")
    if genes[0] < MIN_GENES:
        raise SettingError(
            f"--genes: expected at least {MIN_GENES}, found {genes[0]}; a correlation of two spots over one gene is "
            "undefined and over two genes always 1 or -1"
        )
