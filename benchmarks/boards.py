"""The boards of leaderboards/, from the commands in leaderboards/boards.toml, and whether they can be repeated.

Run ``make boards``, or ``python benchmarks/boards.py [--only NAME ...] [--yes]`` from the repository's root, with the
data root in ``STBENCH_DATA``. It says what every command would take before the first one starts; each continues where
it was stopped, and so does this. ``--check 3`` instead runs three cells of every archive of records again, drawn at
random from those that fit in ``--minutes``, and compares their scores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import split

import numpy as np

import stbench
from presets import METHODS
from stbench.evaluation.record import Record
from stbench.pages.archive import read_records

HERE = Path("leaderboards")
FITS = ("run", "tune", "sweep-genes")
ASK = ("run", "sweep-genes")
GRID_WITH_FAILED_CELLS = 1
AGREES = 1e-4  # of a score, relative: another processor's rounding, carried on by training, may move more


@dataclass(frozen=True)
class Board:
    """Commands that make one page, in order."""

    name: str
    commands: Sequence[Sequence[str]]

    def estimates(self) -> Iterator[str]:
        """What every command that fits would take, as it says itself."""
        for words in self.commands:
            if words[1] in FITS:
                said = subprocess.run([*program(words), "--dry-run"], capture_output=True, text=True, check=False)
                lines = [line for line in said.stdout.splitlines() if line.startswith(("cells", "estimate"))]
                yield f"{self.name}: {' '.join(words)}\n  " + "\n  ".join(lines or said.stderr.splitlines()[-1:])

    def make(self) -> None:
        """Carry out every command; the first that fails ends it."""
        for words in self.commands:
            print(f"{self.name}: {' '.join(words)}", flush=True)
            code = subprocess.run([*program(words), *(["--yes"] if words[1] in ASK else [])], check=False).returncode
            if code not in (0, GRID_WITH_FAILED_CELLS):
                sys.exit(code)


def program(words: Sequence[str]) -> list[str]:
    """The command under this interpreter."""
    return [sys.executable, "-m", *words]


def boards(secrets: Path) -> list[Board]:
    """Those of boards.toml."""
    said = tomllib.loads((HERE / "boards.toml").read_text(encoding="utf-8"))
    names = {
        "all": " ".join(f"--method {name}" for name in METHODS),
        "data": os.environ.get("STBENCH_DATA", "data"),
        "secrets": str(secrets),
    }
    return [Board(name, [split(line.format(**names)) for line in one["commands"]]) for name, one in said.items()]


def cells(archive: Path, how_many: int, minutes: float) -> list[Record]:
    """Records of a board drawn at random, of different methods where there are enough."""
    records = [one for one in read_records([archive]) if one.status == "done" and one.kind not in ("ceiling", "oracle")]
    records = [one for one in records if "overrides" in one.request]  # what schema 1 does not hold
    short = [one for one in records if sum(one.seconds.values()) < 60 * minutes and one.method != "references"]
    order = np.random.default_rng(0).permutation(len(short))
    first: dict[str, Record] = {}
    for place in order:
        first.setdefault(short[place].method, short[place])
    return list(first.values())[:how_many]


def again(record: Record, out: Path) -> Record:
    """The cell of a record, carried out anew."""
    asked = dict(record.request)
    settings = dict(word.split("=", 1) for word in asked.pop("overrides"))
    if record.tuned is not None:
        settings |= {name: str(value) for name, value in record.tuned.settings.items()}
    gone = ("methods", "seeds", "tuned", "controls", "normalization", "split", "genes")
    rest = {name: value for name, value in asked.items() if name not in gone and value not in (None, [], ())}
    one_fold = asked["split"] if asked["split"].endswith(".json") else record.task.protocol
    settings = {name.removeprefix(f"{record.method}."): value for name, value in settings.items()}
    runs = stbench.run(
        record.method, out=out, controls=False, seeds=[record.seed], normalize=[record.task.scale], split=one_fold,
        genes=len(record.task.genes), set=settings, data_root=os.environ.get("STBENCH_DATA"), **rest,
    )  # fmt: skip
    return next(one for one in runs.records if one.method == record.method)


def difference(record: Record, found: Record) -> tuple[str, float]:
    """The metric that differs most, relative to its value."""
    apart = {
        name: abs(one.mean - found.metrics[name].mean) / max(abs(one.mean), 1e-3)
        for name, one in record.metrics.items()
        if one.mean is not None and name in found.metrics and found.metrics[name].mean is not None
    }
    name = max(apart, key=lambda name: apart[name])
    return name, apart[name]


def check(how_many: int, minutes: float) -> None:
    """Print a markdown table: cells of every board, and how far they are from what a run here gives."""
    print("| board | cell | same task | largest difference, relative | |\n| --- | --- | --- | --- | --- |")
    for archive in sorted(HERE.glob("*.records.jsonl.xz")):
        for record in cells(archive, how_many, minutes):
            with tempfile.TemporaryDirectory() as folder:
                found = again(record, Path(folder) / "run")
            same = record.task.hash == found.task.hash
            name, apart = difference(record, found)
            cell = f"{record.method}, {record.task.protocol}, {record.task.scale}, seed {record.seed}"
            verdict = "agrees" if same and apart < AGREES else "differs"
            print(
                f"| {archive.name.partition('.')[0]} | {cell} | {same} | {name} {apart:.1e} | {verdict} |", flush=True
            )


def main() -> None:
    """Make the boards, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--yes", action="store_true")
    parser.add_argument("--secrets", type=Path, default=Path.home() / ".config/stbench")
    parser.add_argument("--check", type=int, metavar="CELLS")
    parser.add_argument("--minutes", type=float, default=10)
    asked = parser.parse_args()
    if asked.check:
        return check(asked.check, asked.minutes)
    wanted = [board for board in boards(asked.secrets) if not asked.only or board.name in asked.only]
    for board in wanted:
        print("\n".join(board.estimates()), flush=True)
    if not asked.yes and input("Begin? It may be stopped and goes on [y/N] ").strip().lower() != "y":
        return None
    for board in wanted:
        board.make()
    return None


if __name__ == "__main__":
    main()
