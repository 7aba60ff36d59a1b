"""The parts of a split. Validation equal to test cannot be expressed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from stbench.errors import UserError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Disjoint, non-empty lists of slide ids.

    Raises:
        UserError: a part is empty, or a slide is named twice.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    needed: ClassVar[tuple[str, ...]] = PARTS

    def __post_init__(self) -> None:
        for part in self.needed:
            if not getattr(self, part):
                raise UserError(f"split: expected at least one {part} slide, found none")
        twice = [slide for slide, n in Counter(self.slides).items() if n > 1]
        if twice:
            raise UserError(f"split: expected every slide once, found {twice[0]} twice; remove one of the two")

    @property
    def slides(self) -> tuple[str, ...]:
        """All slides, training first."""
        return self.train + self.validation + self.test


@dataclass(frozen=True)
class WithoutTest(Split):
    """Training and validation slides alone, for a model that is applied to other slides."""

    test: tuple[str, ...] = ()
    needed: ClassVar[tuple[str, ...]] = PARTS[:2]


@dataclass(frozen=True)
class WithoutValidation(Split):
    """Training and test slides alone, for methods that choose nothing on others."""

    needed: ClassVar[tuple[str, ...]] = PARTS[::2]

    @classmethod
    def of(cls, split: Split) -> WithoutValidation:
        """A split whose validation slides train."""
        return cls(split.train + split.validation, (), split.test)
