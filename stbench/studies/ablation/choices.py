"""What a user asks of one ``stbench ablate``. Light: the command line's help reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from stbench.evaluation.choices import Choices
from stbench.text import pairs, parse_names

GENES = 200
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class AblationChoices:
    """Everything of an ablation that can move a number, and where the data lie.

    Args:
        run: what all cells share, the one method among it; its seed is that of no cell.
        tables: tables of the method's card, all when empty.
        seeds: seeds of fitting and sampling, ascending.
        vectors: name of a gene model to the file or folder of its vectors.
    """

    run: Choices
    tables: tuple[str, ...] = ()
    seeds: tuple[int, ...] = SEEDS
    vectors: dict[str, str] = field(default_factory=dict)

    @property
    def method(self) -> str:
        return self.run.methods[0]


def parse_tables(text: str) -> tuple[str, ...]:
    """``2,14`` as names of tables.

    Raises:
        SettingError: one that comes twice.
    """
    return parse_names(text, "--tables")


def parse_vectors(texts: Sequence[str]) -> dict[str, str]:
    """``NAME=PATH`` texts as a dictionary.

    Raises:
        SettingError: no ``=``, or a name given twice.
    """
    return pairs("--prior", texts)
