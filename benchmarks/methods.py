"""What the eight methods cost on slides of the sizes of the paper's three cohorts (Tables 10 and 11).

Run ``OMP_NUM_THREADS=1 python benchmarks/methods.py``; it prints a markdown table: CPU seconds of some optimiser
updates, setting up and validation left out, CPU seconds of one draw of a slide, and the peak memory above what the
process holds before. Each row is a process of its own. Slides are random, on a square array; ``--preset paper`` takes
the paper's sizes, on features where a method would read patches (``benchmarks/triplex.py`` has those). ``/ flag``
divides by FLAG's row of as many spots, ``/ first`` by the method's own row of the fewest spots: compare these, seconds
are of the machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psutil
import torch

from stbench.evaluation.hardware import PeakMemory
from stbench.methods.base import Context, LabelledSlide, Method, SlideInputs
from stbench.methods.registry import find_method, method_class, resolve_settings
from stbench.reporting import Advance

METHODS = ["flag", "joint-diffusion", "node-diffusion", "stem", "stflow", "triplex", "bleep", "histogene"]
SPOTS = [293, 317, 1413]  # the representative slides of HER2ST, KIDNEY and PRAD in Table 10
_FEW_SPOTS = 30
_PITCH_PX = 200.0
_WARM = 1  # updates before the clock starts
_NEVER = 10**6
_COLUMNS = ["fit", "draw", "mb"]


class Clock:
    """A reporter that notes the CPU time after every update."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def info(self, message: str) -> None:
        """Say nothing."""

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[Advance]:
        """Note the time whenever training advances; the first call is before the first update."""

        def advance(steps: int = 1, *, note: str = "") -> None:
            if description == "training":
                self.seconds.append(time.process_time())

        yield advance


def slide(options: argparse.Namespace, spots: int) -> LabelledSlide:
    """Random features and counts on a square array."""
    generator = np.random.default_rng(spots)
    array = np.stack(np.divmod(np.arange(spots), int(spots**0.5)), axis=1).astype(np.float32)
    features = generator.standard_normal((spots, options.features), dtype=np.float32)
    expression = np.log1p(generator.poisson(2.0, (spots, options.genes))).astype(np.float32)
    return LabelledSlide(SlideInputs(f"S{spots}", "P", features, array * _PITCH_PX, array, 0.5), expression)


def new(options: argparse.Namespace, name: str) -> Method:
    """A method that makes a few updates and validates after the last, which no clock sees."""
    card = find_method(name)
    cls = method_class(card)
    changes = {
        "max_updates": options.updates + _WARM + 1,
        "epochs": _NEVER,
        "validate_every": _NEVER,
        "validate_each_epoch": "false",
        "input": "features",
    }
    taken = {key: str(value) for key, value in changes.items() if key in cls.Settings.model_fields}
    return cls(resolve_settings(card, cls, options.preset, taken))


def measure(options: argparse.Namespace, name: str, spots: int) -> dict[str, float]:
    """CPU seconds of the updates and of a draw, MB above those before."""
    torch.set_num_threads(options.threads)
    large, few, clock, method = slide(options, spots), slide(options, _FEW_SPOTS), Clock(), new(options, name)
    context = Context(tuple(map(str, range(options.genes))), device=options.device, reporter=clock)
    before = psutil.Process().memory_info().rss / 1024**2
    with PeakMemory(options.device) as memory:
        method.fit([large], [few], context)
        method.predict(few.inputs, 1, 0)  # pays for what is made once
        start = time.process_time()
        method.predict(large.inputs, 1, 0)
        draw = time.process_time() - start
    fit = clock.seconds[_WARM + options.updates] - clock.seconds[_WARM]
    return {"fit": fit, "draw": draw, "mb": memory.mb - before if memory.gpu_mb is None else memory.gpu_mb}


def row(name: str, spots: int, found: dict[tuple[str, int], dict[str, float]]) -> str:
    """A line of the table, with ratios to what was measured before in the same run."""
    mine = found[name, spots]
    first = found[name, min(size for one, size in found if one == name)]
    flag = found.get(("flag", spots))
    cells = [name, str(spots)]
    for column in _COLUMNS:
        cells += [f"{mine[column]:.0f}" if column == "mb" else f"{mine[column]:.2f}"]
        cells += [f"{mine[column] / flag[column]:.2g}" if flag else "-", f"{mine[column] / first[column]:.2g}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--spots", nargs="+", type=int, default=SPOTS)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--updates", type=int, default=10, help="optimiser updates that the clock sees")
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--features", type=int, default=1024, help="width of the image features")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--one", action="store_true", help="print the numbers of one method and size as JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options, options.methods[0], options.spots[0])))
        return
    kept = [f"--{key}={getattr(options, key)}" for key in vars(options) if key not in ("methods", "spots", "one")]
    print(
        f"preset {options.preset}, {options.updates} updates, {options.genes} genes, {options.features} features, "
        f"{options.device}, {options.threads} threads\n"
    )
    print("| method | spots | fit s | / flag | / first | draw s | / flag | / first | peak MB | / flag | / first |")
    print("| --- |" + " ---: |" * 10, flush=True)
    found: dict[tuple[str, int], dict[str, float]] = {}
    for name in options.methods:
        for spots in options.spots:
            command = [sys.executable, __file__, "--one", "--methods", name, "--spots", str(spots), *kept]
            ended = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name, spots] = json.loads(ended.stdout.splitlines()[-1])
            print(row(name, spots, found), flush=True)


if __name__ == "__main__":
    main()
