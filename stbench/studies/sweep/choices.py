"""What a user asks of one ``stbench sweep-genes``. Light: the command line's help reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from stbench.errors import SettingError
from stbench.evaluation.choices import Choices
from stbench.text import pairs

METHODS = ("flag", "joint-diffusion", "node-diffusion")
GENES = (10, 50, 100, 200)
SEEDS = (0,)
PRESET = "small"
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
_NEXT_PAIR = re.compile(r",(?=[A-Za-z_]\w*=)")  # a value may hold commas, as lists do


@dataclass(frozen=True)
class Variant:
    """A method under settings of its own.

    Args:
        name: label of its curve and name of its folder.
        method: the method.
        overrides: setting to text, over whatever ``--set`` gives the method.
    """

    name: str
    method: str
    overrides: dict[str, str]


@dataclass(frozen=True)
class SweepChoices:
    """Everything of a sweep that can move a number, and where the data lie.

    Args:
        methods: methods with a curve each.
        variants: methods under settings of their own, with a curve each.
        genes: panel sizes, ascending.
        seeds: seeds of fitting and sampling, ascending.
        run: what all cells share; its methods, panel size and seed are those of no cell.
    """

    methods: tuple[str, ...] = METHODS
    variants: tuple[Variant, ...] = ()
    genes: tuple[int, ...] = GENES
    seeds: tuple[int, ...] = SEEDS
    run: Choices = field(default_factory=lambda: Choices(methods=(), preset=PRESET))

    def one(self) -> Choices:
        """The choices of one run with every method in it, at the smallest panel and the first seed."""
        bases = dict.fromkeys([*self.methods, *(variant.method for variant in self.variants)])
        return replace(self.run, methods=tuple(bases), genes=min(self.genes), seed=min(self.seeds))


def parse_variant(text: str) -> Variant:
    """``NAME=METHOD,key=value,...`` as a variant.

    Raises:
        SettingError: another form, or a key given twice.
    """
    name, equals, rest = text.partition("=")
    method, *settings = _NEXT_PAIR.split(rest)
    if not equals or not method or not _NAME.fullmatch(name):
        raise SettingError(
            f"--variant: expected NAME=METHOD,key=value with a NAME of a-z, 0-9, . and -, found {text!r}"
        )
    if not settings:
        raise SettingError(f"--variant {name}: expected at least one key=value behind {method}, found none")
    return Variant(name, method, pairs(f"--variant {name}", settings))
