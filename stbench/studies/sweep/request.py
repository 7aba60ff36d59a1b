"""What a user asks of one ``stbench sweep-genes``. Light: the command line's help reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from stbench.errors import SettingError
from stbench.evaluation.request import METHOD, Request, altered, option
from stbench.text import pairs, parse_numbers

METHODS = ("flag", "joint-diffusion", "node-diffusion")
GENES = (10, 50, 100, 200)
PRESET = "small"
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
_NEXT_PAIR = re.compile(r",(?=[A-Za-z_]\w*=)")  # a value may hold commas, as lists do


@dataclass(frozen=True)
class SweepRequest(Request):
    """Everything of a sweep over panel sizes."""

    COMMAND: ClassVar[str] = "sweep-genes"

    methods: tuple[str, ...] = altered(
        Request, "methods", METHODS, flags=("--methods", "--method"), joined=True,
        help="Registered names or path/to/file.py:Class, with a comma between two.",
    )  # fmt: skip
    genes: tuple[int, ...] = altered(
        Request, "genes", GENES, role="cells", metavar="G,G,...", help="Panel sizes, with a comma between two.",
        read=partial(parse_numbers, "--genes", least=2, why=" (a correlation needs two genes)"),
    )  # fmt: skip
    seeds: tuple[int, ...] = altered(Request, "seeds", (0,), said=True)
    preset: str = altered(Request, "preset", PRESET, said=True)
    variants: tuple[str, ...] = option(
        (), "A curve NAME of its own: METHOD with these settings over those of --set; repeatable.", "--variant",
        group=METHOD, role="cells", order=2, metavar="NAME=METHOD,KEY=VALUE,...",
    )  # fmt: skip


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

    @property
    def text(self) -> str:
        """As ``--variant`` takes it."""
        return ",".join([f"{self.name}={self.method}", *(f"{key}={value}" for key, value in self.overrides.items())])


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
