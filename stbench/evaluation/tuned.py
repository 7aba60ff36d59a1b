"""``settings.toml``: what a study chose for a method in an outer fold; ``stbench tune`` leaves it, a run takes it."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stbench.catalogue import problem_of
from stbench.data.parts import Split
from stbench.errors import DataError, SettingError
from stbench.evaluation.record import Tuned
from stbench.evaluation.request import Request
from stbench.files import CHANGED, write_text
from stbench.reading import check_regular
from stbench.text import few, first_line, listed

FILE = "settings.toml"
_SEAL = "seal"
_HEAD = "# Chosen by stbench tune; stbench run --tuned takes it. A change is refused: stbench run --set sets by hand."


class Choice(BaseModel):
    """What was chosen for one method in one outer fold.

    Args:
        method: name of the method.
        fold: name of the outer fold.
        test: its test slides, which nothing of the study has read.
        task: what all cells of the study share, by option.
        tuned: the settings, and how they were found.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    fold: str
    test: list[str]
    task: dict[str, Any] = Field(description="options of the request that are not the default's None")
    tuned: Tuned


def shared_task(request: Request) -> dict[str, Any]:
    """What no two cells of a run may differ in, by option: a study and a run that takes it must agree."""
    known = Request.options()
    said = {name: value for name, value in request.shared().items() if name in known and known[name].role == "shared"}
    return {name: value for name, value in said.items() if value is not None}


def write_choice(choice: Choice, folder: Path) -> Path:
    """Write ``settings.toml`` into a folder, with the hash of what it says; raises UserError where it cannot be."""
    said = choice.model_dump(mode="json")
    tables = {"task": said.pop("task"), "tuned": said.pop("tuned")}
    settings = tables["tuned"].pop("settings")
    lines = [_HEAD, *_lines({**said, _SEAL: _seal_of(choice)})]
    for name, table in {**tables, "tuned.settings": settings}.items():
        lines += ["", f"[{name}]", *_lines(table)]
    write_text(folder / FILE, "\n".join(lines) + "\n", hint="choose another --out")
    return folder / FILE


def _lines(table: Mapping[str, Any]) -> list[str]:
    """JSON of texts, numbers and lists is TOML, too; what is None is left out."""
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items() if value is not None]


def _seal_of(choice: Choice) -> str:
    said = json.dumps(choice.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def read_choice(path: Path) -> Choice:
    """Read ``settings.toml``.

    Raises:
        DataError: missing, not TOML, or not what a study wrote.
    """
    try:
        check_regular(path)
        said = tomllib.loads(path.read_text(encoding="utf-8"))
        seal = said.pop(_SEAL, None)
        choice = Choice.model_validate(said)
        if seal != _seal_of(choice):
            raise DataError(CHANGED)
    except (OSError, ValueError, DataError) as error:
        reason = problem_of(error) if isinstance(error, ValidationError) else first_line(error)
        raise DataError(
            f"expected what stbench tune wrote in {path}, found: {reason}; write it again with it"
        ) from error
    return choice


def choices_in(folder: Path) -> dict[tuple[str, str], Choice]:
    """Fold and method to what a study chose, as far as it got; raises DataError where one is not what it wrote."""
    found = [read_choice(path) for path in sorted(folder.glob(f"*/*/{FILE}"))]
    return {(choice.fold, choice.method): choice for choice in found}


def read_choices(folder: Path) -> dict[tuple[str, str], Choice]:
    """Fold and method to what a study chose.

    Raises:
        SettingError: the folder holds none.
        DataError: one of them is not what the study wrote.
    """
    found = choices_in(folder)
    if not found:
        raise SettingError(f"--tuned: expected the folder of a study at {folder}, found no {FILE} in it; stbench tune")
    return found


def check_choices(
    folder: Path, choices: Mapping[tuple[str, str], Choice], request: Request, folds: Mapping[str, Split],
    methods: Sequence[str],
) -> None:  # fmt: skip
    """Raise SettingError where a study is of another task, of other folds, or has nothing of a method.

    Args:
        folder: of the study.
        choices: what it chose.
        request: what is asked of the run.
        folds: name of a fold to who trains, validates and tests.
        methods: names of the methods that are to be run with tuned settings.
    """
    first = next(iter(choices.values()))
    theirs, mine = first.task, shared_task(request)
    if found := [
        f"{name} {theirs.get(name)!r} -> {mine.get(name)!r}"
        for name in {**theirs, **mine}
        if theirs.get(name) != mine.get(name) and name != "split"
    ]:
        raise SettingError(f"--tuned {folder}: expected a study of this task, found one of another: {'; '.join(found)}")
    for name, split in folds.items():
        for method in methods:
            _check_one(folder, choices, name, split, method)


def _check_one(folder: Path, choices: Mapping[tuple[str, str], Choice], fold: str, split: Split, method: str) -> None:
    choice = choices.get((fold, method))
    if choice is None:
        known = dict.fromkeys(name for name, tuned in choices if tuned == method)
        has = f"{method} in {listed(known)}" if known else listed(dict.fromkeys(tuned for _, tuned in choices))
        raise SettingError(
            f"--tuned {folder}: expected settings of {method} in fold {fold}, found those of {has}; tune it, or leave "
            "it out"
        )
    slides = choice.tuned.slides
    if sorted(split.test) != choice.test or not {*slides} <= {*split.train, *split.validation}:
        raise SettingError(
            f"--tuned {folder}: expected fold {fold} to test {listed(choice.test)} and to train on {few(slides)}, as "
            f"in the study, found that it tests {listed(sorted(split.test))}; give the split and the data of the study"
        )
