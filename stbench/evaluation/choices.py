"""What a user asks of one ``stbench run``, and the command that repeats it. Light: the command line's help reads it."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stbench.errors import SettingError

if TYPE_CHECKING:
    from stbench.data.image import PatchSpec

_SIDE = re.compile(r"(\d+(?:\.\d+)?)(px|um)")
_OPTIONS = {
    "split": "--split",
    "split_seed": "--split-seed",
    "seed": "--seed",
    "draws": "--draws",
    "encoder": "--encoder",
    "weights": "--weights",
    "patch": "--patch",
    "normalization": "--normalize",
    "preset": "--preset",
    "overrides": "--set",
    "simulate": "--simulate",
}


@dataclass(frozen=True)
class Choices:
    """Everything of a run that can move a number, and where the data lie.

    Args:
        methods: registered names, or ``path/to/file.py:Class``.
        dataset: registered name, or a folder in a known layout.
        genes: size of the panel.
        split: ``slide``, ``patient``, ``kfold-K-I``, ``lopo-PATIENT`` or a JSON file.
        split_seed: seed of the split.
        seed: seed of fitting and sampling; it leaves the task, and so the table, the same.
        draws: samples per slide, None for each method's own number.
        encoder: image encoder, None for the one on the cohort's card.
        weights: its local weight file.
        patch: geometry of the patches, None for the cohort's.
        normalization: scale of expression.
        preset: preset of every method that has it.
        overrides: ``key=value`` or ``method.key=value``.
        simulate: ``key=value`` of a generated cohort.
        controls: whether the usual controls run too.
        data_root: folder that holds one folder per cohort.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    methods: tuple[str, ...]
    dataset: str = "simulated"
    genes: int = 50
    split: str = "slide"
    split_seed: int = 0
    seed: int = 0
    draws: int | None = None
    encoder: str | None = None
    weights: Path | None = None
    patch: str | None = None
    normalization: str = "log1p"
    preset: str = "paper"
    overrides: tuple[str, ...] = ()
    simulate: tuple[str, ...] = ()
    controls: bool = True
    data_root: Path | None = None
    device: str = "auto"

    def command(self) -> str:
        """The command that repeats the run. Where data and results lie and the device are left to who repeats it."""
        words = ["stbench", "run"]
        for method in self.methods:
            words += ["--method", method]
        words += ["--dataset", self.dataset, "--genes", str(self.genes)]
        for name, flag in _OPTIONS.items():
            value = getattr(self, name)
            if value != getattr(type(self), name):
                for word in value if isinstance(value, tuple) else (value,):
                    words += [flag, str(word)]
        return shlex.join(words if self.controls else [*words, "--no-controls"])


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
    """``STBENCH_CACHE``, else ``stbench`` in the user's cache folder."""
    if said := os.environ.get("STBENCH_CACHE"):
        return Path(said)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stbench"
