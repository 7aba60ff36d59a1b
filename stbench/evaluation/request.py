"""Everything a user can ask of a run: one frozen dataclass, whose fields say their flag, their help and their default.

The command line takes its options from here, ``--config`` reads them, a plan holds them, the manifest of a grid and the
record of a run keep them, and the command that repeats a table is printed from them. Light: the command line's help
reads it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_origin, get_type_hints

from stbench.errors import SettingError, UnknownNameError
from stbench.text import listed, parse_numbers

if TYPE_CHECKING:
    from stbench.data.image import PatchSpec

_SIDE = re.compile(r"(\d+(?:\.\d+)?)(px|um)")
_OPTION = "option"
Role = Literal["cells", "shared", "place"]


@dataclass(frozen=True)
class Option:
    """How a field of a request is asked for.

    Args:
        help: one line.
        flags: words on the command line; the first is printed.
        group: heading in the help.
        role: ``cells``: a grid may grow in it; ``shared``: no two cells of a folder may differ in it; ``place``: where
            things lie and what computes, which moves no number and is left to whoever repeats the command.
        order: place among the words of a command.
        said: whether a command says it though it is the default.
        joined: whether several values are printed as one word with commas.
        metavar: what stands for the value in the help.
        envvar: environment variable that is asked too.
        read: text to value, for values that one text codes.
        later: whether it came after folders were named by their settings; it enters their names only if it is set.
        stand_in: what a command prints in place of the value, which is kept nowhere; empty for everything that is kept.
    """

    help: str
    flags: tuple[str, ...]
    group: str
    role: Role
    order: float
    said: bool = False
    joined: bool = False
    metavar: str | None = None
    envvar: str | None = None
    read: Callable[[str], Any] | None = None
    later: bool = False
    stand_in: str = ""


def option(default: Any, help: str, *flags: str, group: str, role: Role, order: float, **more: Any) -> Any:
    """A field of a request."""
    return field(default=default, metadata={_OPTION: Option(help, flags, group, role, order, **more)})


def altered(base: type[Request], name: str, default: Any, **changes: Any) -> Any:
    """A field of ``base`` with another default, and where it is asked for otherwise with other facts."""
    known = next(one for one in fields(base) if one.name == name)
    return field(default=default, metadata={_OPTION: replace(option_of(known), **changes)})


def option_of(one: Field[Any]) -> Option:
    """How a field of a request is asked for."""
    found: Option = one.metadata[_OPTION]
    return found


BOARDS = Path("leaderboards")
"""Folder of boards unless a command says another."""
SPLIT, NO_VALIDATION = "split", "none"
VALIDATIONS = (SPLIT, NO_VALIDATION)
TASK, METHOD, RESULT = "what is predicted from what", "methods", "where and how"


@dataclass(frozen=True)
class Request:
    """What a user asks of ``stbench run``, and what every command that runs methods asks besides its own."""

    COMMAND: ClassVar[str] = "run"

    methods: tuple[str, ...] = option(
        (), "Registered name or path/to/file.py:Class; repeatable.", "--method", "--methods",
        group=METHOD, role="cells", order=1, said=True,
    )  # fmt: skip
    dataset: str = option(
        "simulated", "Registered name, or a folder or .h5ad file in a known layout.", "--dataset",
        group=TASK, role="shared", order=10, said=True,
    )  # fmt: skip
    genes: tuple[int, ...] = option(
        (50,), "Size of the panel.", "--genes",
        group=TASK, role="shared", order=11, said=True, joined=True, metavar="G",
        read=partial(parse_numbers, "--genes", least=2, why=" (a correlation needs two genes)"),
    )  # fmt: skip
    seeds: tuple[int, ...] = option(
        (0,), "Seeds of fitting and sampling, with a comma between two; controls run with the first.",
        "--seeds", "--seed", group=METHOD, role="cells", order=12, joined=True, metavar="S,S,...",
        read=partial(parse_numbers, "--seeds", least=0),
    )  # fmt: skip
    preset: str = option(
        "paper", "paper, official, small (two CPU cores, minutes) ...; methods without it take their defaults.",
        "--preset", group=METHOD, role="shared", order=13,
    )  # fmt: skip
    overrides: tuple[str, ...] = option(
        (), "Setting of the methods that have it; repeatable.", "--set",
        group=METHOD, role="cells", order=14, metavar="[METHOD.]KEY=VALUE",
    )  # fmt: skip
    split: str = option(
        "slide",
        "slide (7:2:1), patient (7:2:1 of patients), kfold-K, patient-kfold-K, lopo (all folds), kfold-K-I, "
        "lopo-PATIENT (one of them), or a JSON file.",
        "--split", group=TASK, role="shared", order=20,
    )  # fmt: skip
    split_seed: int = option(
        0, "Seed of the split; another one is another task.", "--split-seed",
        group=TASK, role="shared", order=21,
    )  # fmt: skip
    test_dataset: str | None = option(
        None, "Registered name or folder whose usable slides all test; the other cohort trains and validates.",
        "--test-dataset", group=TASK, role="shared", order=21.3, later=True,
    )  # fmt: skip
    validation_rule: str = option(
        SPLIT, "split: the slides that the split says; none: these train, for methods that choose nothing on them.",
        "--validation", group=TASK, role="shared", order=21.6, later=True,
    )  # fmt: skip
    draws: int | None = option(
        None, "Samples per slide of generative methods; default: the card's.", "--draws",
        group=METHOD, role="shared", order=22,
    )  # fmt: skip
    draws_kept: str = option(
        "all", "Draws that stay on disk once they are scored: none, all or a number; mean and spread stay.",
        "--keep-draws", group=METHOD, role="shared", order=22.5, metavar="none|all|N", later=True,
    )  # fmt: skip
    patients: Path | None = option(
        None, "CSV with the columns slide and patient; default: patients.csv in the cohort's folder.", "--patients",
        group=TASK, role="shared", order=21.1, metavar="FILE", later=True,
    )  # fmt: skip
    genes_table: Path | None = option(
        None, "Table of genes: symbols take the place of ids and older symbols, e.g. HGNC's.",
        "--genes-table", group=TASK, role="shared", order=21.2, metavar="FILE", later=True,
    )  # fmt: skip
    gene_sets: Path | None = option(
        None, "Gene sets (GMT, or JSON as MSigDB writes it) whose scores and networks are scored too.", "--gene-sets",
        group=RESULT, role="shared", order=29, metavar="FILE", later=True,
    )  # fmt: skip
    encoder: str | None = option(
        None,
        "handcrafted-v1, mean-rgb, uni ... (stbench encode --list), timm:<architecture>, precomputed; default: the "
        "cohort's.",
        "--encoder", group=TASK, role="shared", order=23,
    )  # fmt: skip
    weights: Path | None = option(
        None, "Local weight file, or its folder, of a network encoder; folder of precomputed features.", "--weights",
        group=TASK, role="shared", order=24,
    )  # fmt: skip
    patch: str | None = option(
        None, "Side of a patch, e.g. 224px or 112um; default: the cohort's.", "--patch",
        group=TASK, role="shared", order=25,
    )  # fmt: skip
    normalization: tuple[str, ...] = option(
        ("log1p",), "Scale: log1p, log2p1 or cp10k-log1p; repeatable, each is a task of its own.", "--normalize",
        group=TASK, role="shared", order=26,
    )  # fmt: skip
    simulate: tuple[str, ...] = option(
        (), "Setting of a generated cohort; with simulated also 'paper' for the paper's size; repeatable.",
        "--simulate", group=TASK, role="shared", order=27, metavar="KEY=VALUE",
    )  # fmt: skip
    secret: Path | None = option(
        None, "File of the secret seed of a generated cohort, made if it is not there; keep it until the board closes.",
        "--secret", group=TASK, role="place", order=27.5, metavar="FILE", stand_in="FILE",
    )  # fmt: skip
    tuned: Path | None = option(
        None, "Folder that stbench tune wrote: a row with the settings it chose beside every method's own.", "--tuned",
        group=METHOD, role="cells", order=14.7, metavar="FOLDER",
    )  # fmt: skip
    controls: bool = option(
        True, "Run the usual controls too, and the ceilings of the data.", "--controls/--no-controls",
        group=METHOD, role="cells", order=28,
    )  # fmt: skip
    data_root: Path | None = option(
        None, "Folder that holds one folder per cohort.", "--data-root",
        group=RESULT, role="place", order=30, envvar="STBENCH_DATA",
    )  # fmt: skip
    device: str = option("auto", "auto, cpu or cuda.", "--device", group=RESULT, role="place", order=31)

    @classmethod
    @cache
    def options(cls) -> dict[str, Option]:
        """Every option by the name of its field, in the order of a command's words."""
        found = {one.name: option_of(one) for one in fields(cls)}
        return dict(sorted(found.items(), key=lambda pair: pair[1].order))

    @classmethod
    @cache
    def kinds(cls) -> dict[str, Any]:
        """Field to its type."""
        return {name: kind for name, kind in get_type_hints(cls).items() if name in cls.options()}

    @classmethod
    def usual(cls, name: str) -> Any:
        """Default of a field."""
        return next(one.default for one in fields(cls) if one.name == name)

    @classmethod
    @cache
    def named(cls) -> dict[str, str]:
        """Every name of an option, its flags without dashes and its field, to the field."""
        flags = {flag.partition("/")[0].lstrip("-"): name for name, one in cls.options().items() for flag in one.flags}
        return flags | {flag.replace("-", "_"): name for flag, name in flags.items()} | {n: n for n in cls.options()}

    @classmethod
    def of_words(cls, said: Mapping[str, Any]) -> Self:
        """A request of values under the names of options, as Python gives them: one value where several may be given,
        a mapping where options are ``KEY=VALUE``.

        Raises:
            UnknownNameError: a name that is no option.
            SettingError: a text that codes no such value.
        """
        if unknown := [name for name in said if name not in cls.named()]:
            raise UnknownNameError(f"option of {cls.COMMAND}", unknown[0], cls.named())
        fields_ = {cls.named()[name]: value for name, value in said.items()}
        return cls.read({name: _given(cls.kinds()[name], cls.options()[name], v) for name, v in fields_.items()})

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        """A request of what the command line or a file gave: lists and coded texts become what the fields hold.

        Raises:
            UnknownNameError: a name no field has.
            SettingError: a text that codes no such value.
        """
        for name in said:
            if name not in cls.options():
                raise UnknownNameError(f"option of {cls.COMMAND}", name, cls.options())
        return cls(**{name: _value(cls.options()[name], value) for name, value in said.items()})

    def dump(self) -> dict[str, Any]:
        """The request as JSON holds it, without what is kept nowhere; :meth:`read` takes it back."""
        return {name: _plain(getattr(self, name)) for name, one in self.options().items() if not one.stand_in}

    def command(self) -> str:
        """The command that repeats it. Where data and results lie and the device are left to who repeats it."""
        moving = [name for name, one in self.options().items() if one.role != "place" or one.stand_in]
        return shlex.join(["stbench", self.COMMAND, *self.words(moving)])

    def words(self, names: Sequence[str]) -> list[str]:
        """Words of some options: those that are always said, and those that differ from their defaults."""
        found = []
        for name in names:
            one, value = self.options()[name], getattr(self, name)
            if one.said or value != self.usual(name):
                found += _words(one, value)
        return found

    def shared(self) -> dict[str, Any]:
        """What no two cells of a folder may differ in, as JSON."""
        said = {
            name: _plain(getattr(self, name))
            for name, one in self.options().items()
            if one.role == "shared" and not (one.later and getattr(self, name) == self.usual(name))
        }
        scales = said["normalization"]
        return {**said, "normalization": scales[0] if len(scales) == 1 else scales}


def _given(kind: Any, one: Option, value: Any) -> Any:
    """What Python code gives as a field holds it."""
    if isinstance(value, Mapping):
        return tuple(f"{key}={part}" for key, part in value.items())
    if get_origin(kind) is tuple and not isinstance(value, list | tuple) and not (one.read and isinstance(value, str)):
        return (value,)
    return Path(value) if kind == Path | None and isinstance(value, str) else value


def _value(one: Option, value: Any) -> Any:
    if isinstance(value, str) and one.read is not None:
        return one.read(value)
    if isinstance(value, list | tuple):
        return tuple(part for text in value for part in _parts(one, text))
    return value


def _parts(one: Option, text: Any) -> list[Any]:
    """Names may come one by one or with commas between."""
    if "--method" not in one.flags or not isinstance(text, str):
        return [text]
    return [part.strip() for part in text.split(",") if part.strip()]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def _words(one: Option, value: Any) -> list[str]:
    flag = one.flags[0]
    if isinstance(value, bool):
        on, _, off = flag.partition("/")
        return [on if value else off]
    if one.joined:
        return [flag, listed(value, ",")]
    values: Sequence[Any] = value if isinstance(value, tuple) else (value,)
    return [word for part in values for word in (flag, one.stand_in or str(part))]


def parse_patch(text: str | None) -> PatchSpec | None:
    """``224px`` or ``112um`` as a patch.

    Raises:
        SettingError: anything else.
    """
    from stbench.data.image import PatchSpec

    if text is None:
        return None
    match = _SIDE.fullmatch(text)
    side = float(match[1]) if match else 0.0
    if match and match[2] == "um" and side > 0:
        return PatchSpec(um=side)
    if match and match[2] == "px" and side.is_integer() and side > 0:
        return PatchSpec(px=int(side))
    raise SettingError(f"--patch: expected a side such as 224px or 112um, found {text!r}")


def default_cache() -> Path:
    """``STBENCH_CACHE``, else ``stbench`` in the user's cache folder.

    Raises:
        SettingError: the account has no home folder, as in some containers.
    """
    if said := os.environ.get("STBENCH_CACHE"):
        return Path(said)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stbench"
    except RuntimeError as error:
        raise SettingError("expected a home folder for the cache, found none; set STBENCH_CACHE to a folder") from error
