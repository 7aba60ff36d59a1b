"""What a change of the networks gains: training step and prediction, an earlier revision against the working tree.

Run ``OMP_NUM_THREADS=1 python benchmarks/versus.py --against REV``; it prints a markdown table. The revision is laid
out in a temporary folder; each side computes in a process of its own, so that both import their own code, and the two
take turns, so that a slower minute of the machine slows both. Slides are made up.

- step: forward, loss and backward of the method's own objective, without the optimiser; pass: ``predict`` of one draw
  with as few evaluations as the sampler takes. Ratios are old over new: 1.2 is 1.2 times faster, or 1.2 times leaner.
- seconds: shortest processor time of several turns. Memory: largest resident size above that before, in a process whose
  allocator returns what is freed.
- original: what the old revision was to the original code in the same ratio (``_KNOWN``), and that times the gain.
  This holds for the processor the known figures were measured on; elsewhere the gain alone does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_ROOT = Path(__file__).parents[1]
_MB = 1024**2
_PITCH_PX = 290.0
_JOBS = ("step", "pass")
_ONE_WINDOW = {"window_px": "1e6", "passes": "1", "batch_windows": "1"}
_MADE_UP = {"input": "features"}

_KNOWN = {  # old over new is original over port: seconds of step and pass, memory of a step; AMD EPYC, torch 2.13
    "flag": (1.54, 2.49, 1 / 0.94),
    "node-diffusion": (6.45, 7.65, 1 / 0.46),
    "joint-diffusion": (2.33, 1.90, 1 / 0.63),
    "stem": (1.74, 1.87, 1 / 1.02),
    "stflow": (0.94, 2.05, 1 / 1.31),
    "histogene": (1.08, 0.97, 1 / 1.53),
    "bleep": (1.11, 1.09, 1 / 1.10),
    "triplex": (1.20, 1.30, 1 / 1.20),
}


@dataclass(frozen=True)
class Case:
    """What is measured.

    Args:
        method: name of the method.
        preset: whose settings are taken.
        spots: of the one slide.
        genes: of the panel.
        changes: settings beside the preset's.
    """

    method: str
    preset: str
    spots: int
    genes: int
    changes: dict[str, str]


CASES = {
    "flag": Case("flag", "paper", 30, 200, _ONE_WINDOW),
    "node-diffusion": Case("node-diffusion", "paper", 30, 200, _ONE_WINDOW),
    "joint-diffusion": Case("joint-diffusion", "paper", 30, 200, _ONE_WINDOW),
    "stem": Case("stem", "paper", 8, 200, {"steps": "1", "batch_windows": "8"}),
    "stflow": Case("stflow", "paper", 400, 200, {"refinement_steps": "1"}),
    "histogene": Case("histogene", "paper", 300, 200, {}),
    "bleep": Case("bleep", "features", 400, 200, {}),
    "triplex": Case("triplex", "paper", 300, 200, {"input": "features", "neighbours": "grid"}),
    "flag, small": Case("flag", "small", 200, 50, {"passes": "1", "window_px": "2048"}),
    "node-diffusion, small": Case("node-diffusion", "small", 200, 50, {"passes": "1", "window_px": "2048"}),
    "joint-diffusion, small": Case("joint-diffusion", "small", 200, 50, {"passes": "1", "window_px": "2048"}),
    "stem, small": Case("stem", "small", 200, 50, {"steps": "1"}),
    "stflow, small": Case("stflow", "small", 200, 50, {"refinement_steps": "1"}),
    "histogene, small": Case("histogene", "small", 200, 50, {}),
    "bleep, small": Case("bleep", "small", 200, 50, {}),
    "triplex, small": Case("triplex", "small", 200, 50, {}),
}


class Pictures:
    """Patches without a picture."""

    def __init__(self, n_spots: int) -> None:
        self.n_spots = n_spots

    def array(self, side: int) -> np.ndarray:
        return np.random.default_rng(0).integers(256, size=(self.n_spots, side, side, 3), dtype=np.uint8)


def jobs(case: Case) -> dict[str, Callable[[], None]]:
    """Step and pass of a case, on the tree that is imported."""
    import torch

    from stbench.methods.base import Context, LabelledSlide, SlideInputs
    from stbench.methods.registry import find_method, method_class, resolve_settings

    rng, side = np.random.default_rng(0), int(np.ceil(case.spots**0.5))
    places = np.stack(np.divmod(np.arange(case.spots), side), axis=1).astype(np.float32)
    features = rng.normal(size=(case.spots, 1024)).astype(np.float32)
    inputs = SlideInputs("slide", None, features, places * _PITCH_PX, places, patches=Pictures(case.spots))
    slide = LabelledSlide(inputs, np.log1p(rng.poisson(5, (case.spots, case.genes))).astype(np.float32))
    card = find_method(case.method)
    cls = method_class(card)
    method = cls(resolve_settings(card, cls, case.preset, case.changes))
    trainer = method._trainer([slide], [slide], Context(tuple(f"G{k}" for k in range(case.genes))))
    for parameter in trainer.module.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    if case.method == "bleep":
        method.fill_bank([slide])

    def step() -> None:
        torch.manual_seed(0)
        losses = trainer.objective.losses(trainer.module.train(), 0, torch.Generator().manual_seed(0))
        losses["total"].backward()

    def predict() -> None:
        trainer.module.eval()
        method.predict(inputs, 1, 0)

    return {"step": step, "pass": predict}


def serve(name: str) -> None:
    """Answer each line of the input, a job and what to measure of it, with a number."""
    from stbench.process import settle

    settle()
    import torch

    torch.set_num_threads(1)
    todo = jobs(CASES[name])
    for line in sys.stdin:
        job, what = line.split()
        print((seconds if what == "seconds" else peak_mb)(todo[job]), flush=True)


def seconds(job: Callable[[], None]) -> float:
    """Processor time of a job; of the shortest of some where it is short."""
    found: list[float] = []
    while not found or (sum(found) < 0.2 and len(found) < 20):
        start = time.process_time()
        job()
        found.append(time.process_time() - start)
    return min(found)


def peak_mb(job: Callable[[], None]) -> float:
    """Largest resident size during a job above that before it, the second time it runs."""
    job()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    job()
    return (_status("VmHWM") - before) / _MB


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


class Side:
    """A process that computes with one of the two trees."""

    def __init__(self, tree: Path, name: str, *, returns_memory: bool) -> None:
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        if returns_memory:
            environment["MALLOC_MMAP_THRESHOLD_"] = "65536"
        command = [sys.executable, __file__, "--serve", name]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tree
        )

    def __call__(self, job: str, what: str) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{job} {what}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


def compared(trees: tuple[Path, Path], name: str, repeats: int) -> list[tuple[float, float, float, float]]:
    """Of step and pass: seconds of old and new, peak MB of old and new."""
    quick, lean = ([Side(tree, name, returns_memory=kind) for tree in trees] for kind in (False, True))
    found = []
    for job in _JOBS:
        turns = np.array([[side(job, "seconds") for side in quick] for _ in range(repeats + 1)])[1:]
        found.append((*turns.min(axis=0), *(side(job, "peak") for side in lean)))
    for side in [*quick, *lean]:
        side.close()
    return found


def row(name: str, found: list[tuple[float, float, float, float]]) -> str:
    known = _KNOWN.get(name)
    cells = [name]
    for place, (old, new, old_mb, new_mb) in enumerate(found):
        cells += [f"{old * 1e3:.1f}", f"{new * 1e3:.1f}", f"{old / new:.2f}"]
        cells += [f"{known[place]:.2f} → {known[place] * old / new:.2f}" if known else ""]
        cells += [f"{old_mb:.0f}", f"{new_mb:.0f}", f"{new_mb / max(old_mb, 1):.2f}"]
    if known:
        old_mb, new_mb = found[0][2:]
        cells += [f"{1 / known[2]:.2f} → {new_mb / old_mb / known[2]:.2f}"]
    return "| " + " | ".join([*cells, ""][: 1 + 7 * 2 + 1]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", default="HEAD", help="revision of this repository that is the old side")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    head = " | ".join(f"{job} old ms | new | gain | to original | peak MB old | new | ratio" for job in _JOBS)
    print(f"| case | {head} | step's memory to original |\n| --- |" + " ---: |" * 15, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", options.against], cwd=_ROOT, check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        for name in options.cases:
            print(row(name, compared((Path(folder), _ROOT), name, options.repeats)), flush=True)


if __name__ == "__main__":
    main()
