"""What a user asks of one ``stbench claims``. Light: the command line's help reads it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import ClassVar

from stbench.evaluation.request import METHOD, RESULT, TASK, Option, Request, altered, option
from stbench.text import parse_names

_ASKED = (
    *("tables", "cohorts", "methods", "seeds", "preset", "overrides", "vectors", "split_seed", "draws", "draws_kept"),
    *("encoder", "weight_files", "patch", "controls", "data_root", "device"),
)


@dataclass(frozen=True)
class ClaimsRequest(Request):
    """What the tables of a paper leave to the user; the rest of every run follows from the table."""

    COMMAND: ClassVar[str] = "claims"

    tables: tuple[str, ...] = option(
        (), "Tables, with a comma between two; none: list them.", "--table",
        group=RESULT, role="cells", order=0, joined=True, metavar="T,T,...",
        read=partial(parse_names, option="--table"),
    )  # fmt: skip
    cohorts: tuple[str, ...] = option(
        (), "Cohorts of these tables, with a comma between two; default: all.", "--dataset",
        group=TASK, role="cells", order=10, joined=True, metavar="D,D,...",
        read=partial(parse_names, option="--dataset"),
    )  # fmt: skip
    methods: tuple[str, ...] = altered(
        Request, "methods", (), help="Methods of these tables, with a comma between two; default: all.",
        joined=True, said=False, metavar="M,M,...", read=partial(parse_names, option="--method"),
    )  # fmt: skip
    encoder: str | None = altered(
        Request, "encoder", None,
        help="In place of the reported one; default: that one where --weights has its file, else the cohort's.",
    )  # fmt: skip
    weight_files: tuple[str, ...] = option(
        (), "Local weight file, or its folder, of a reported encoder; repeatable.", "--weights",
        group=TASK, role="shared", order=24, metavar="ENCODER=PATH",
    )  # fmt: skip
    vectors: tuple[str, ...] = option(
        (), "Vectors of a gene model, as stbench prior writes them; {dataset} in PATH is the cohort; repeatable.",
        "--prior", group=METHOD, role="cells", order=14.5, metavar="NAME=PATH",
    )  # fmt: skip

    @classmethod
    @cache
    def options(cls) -> dict[str, Option]:
        """Those of a run that no table says."""
        return {name: one for name, one in super().options().items() if name in _ASKED}
