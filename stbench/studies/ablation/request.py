"""What a user asks of one ``stbench ablate``. Light: the command line's help reads it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from stbench.evaluation.request import METHOD, Request, altered, option
from stbench.text import parse_names

GENES = (200,)
SEEDS = (0, 1, 2)
PRESET = "small"


@dataclass(frozen=True)
class AblateRequest(Request):
    """Everything of an ablation."""

    COMMAND: ClassVar[str] = "ablate"

    methods: tuple[str, ...] = altered(
        Request, "methods", (), help="Registered name or path/to/file.py:Class, for which ablations are declared."
    )
    genes: tuple[int, ...] = altered(Request, "genes", GENES)
    seeds: tuple[int, ...] = altered(Request, "seeds", SEEDS, said=True)
    preset: str = altered(Request, "preset", PRESET, said=True)
    controls: bool = altered(Request, "controls", False)
    tables: tuple[str, ...] = option(
        (), "Tables, with a comma between two; default: all.", "--tables",
        group=METHOD, role="cells", order=11.5, said=True, joined=True, metavar="T,T,...",
        read=partial(parse_names, option="--tables"),
    )  # fmt: skip
    vectors: tuple[str, ...] = option(
        (), "Vectors of a gene model for the rows that need them, as stbench prior writes them; repeatable.",
        "--prior", group=METHOD, role="cells", order=14.5, metavar="NAME=PATH",
    )  # fmt: skip
