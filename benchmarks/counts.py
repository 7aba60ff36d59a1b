"""What a training step and a sampling pass of each method ask of a device: kernels, waits of the host, multiplications.

Run ``python benchmarks/counts.py``; it prints a markdown table. Nothing is timed and no GPU is needed: networks compute
on torch's device of shapes (``stbench.proofs.counting``), on a made-up slide, on features where a method would read
patches. ``--breaks`` counts, on the CPU, how many times ``torch.compile`` would have to leave the graph of a network's
forward pass, which takes minutes. ``--places`` names the lines that wait. ``--together N`` counts an update of N
windows instead, one a pass and all in one pass, of the methods that can share a pass.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
import torch

from stbench.methods.base import Context, LabelledSlide, SlideInputs
from stbench.methods.registry import find_method, method_class, resolve_settings
from stbench.methods.trained import TrainedMethod
from stbench.proofs.counting import Counts, graph_breaks, sampling_pass, training_step
from stbench.training.together import PassBudget

_PITCH_PX = 290.0
_PASSES = {"passes": 2}, {"passes": 3}
METHODS: dict[str, tuple[dict[str, Any], dict[str, Any]] | None] = {  # settings that differ by one evaluation
    "flag": _PASSES,
    "joint-diffusion": _PASSES,
    "node-diffusion": _PASSES,
    "stem": ({"steps": "2"}, {"steps": "3"}),
    "stflow": ({"refinement_steps": 2}, {"refinement_steps": 3}),
    "triplex": None,
    "bleep": None,
    "histogene": None,
}


def slide(spots: int, genes: int, features: int) -> LabelledSlide:
    """Random features and counts on a square array."""
    rng = np.random.default_rng(0)
    array = np.stack(np.divmod(np.arange(spots), int(spots**0.5)), axis=1).astype(np.float32)
    inputs = SlideInputs("S", "P", rng.normal(size=(spots, features)).astype(np.float32), array * _PITCH_PX, array, 0.5)
    return LabelledSlide(inputs, np.log1p(rng.poisson(5, (spots, genes))).astype(np.float32))


def new(name: str, preset: str) -> TrainedMethod:
    """A method that reads features."""
    card = find_method(name)
    cls = method_class(card)
    changes = {"input": "features"} if "input" in cls.Settings.model_fields else {}
    method = cls(resolve_settings(card, cls, preset, changes))
    assert isinstance(method, TrainedMethod)
    return method


def shared(name: str, preset: str, windows: int, given: list[LabelledSlide], genes: int) -> list[str]:
    """Kernels and multiplications of an update of so many windows, one a pass and all in one."""
    cells = []
    for load in (1.0, math.inf):
        method = new(name, preset)
        method.settings = method.settings.model_copy(update={"accumulate": windows, "batch_windows": 1})
        counts = training_step(method, given, genes, PassBudget(load))
        cells += [str(counts.n_kernels), f"{counts.flops / 1e9:.2f}"]
    return cells


def print_shared(options: argparse.Namespace, given: list[LabelledSlide]) -> None:
    print("| method | one a pass: kernels | GFLOP | in one pass: kernels | GFLOP |\n| --- |" + " ---: |" * 4)
    for name in (name for name in options.methods if METHODS[name] is _PASSES):
        cells = shared(name, options.preset, options.together, given, options.genes)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def shown(counts: Counts) -> list[str]:
    return [str(counts.n_kernels), str(counts.n_waits), f"{counts.flops / 1e9:.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--spots", type=int, default=64)
    parser.add_argument("--genes", type=int, default=50)
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--breaks", action="store_true", help="count graph breaks too")
    parser.add_argument("--together", type=int, metavar="N", help="an update of N windows, apart and in one pass")
    parser.add_argument("--places", action="store_true", help="name the lines that wait")
    options = parser.parse_args()
    torch.set_num_threads(1)
    given = [slide(options.spots, options.genes, options.features)]
    if options.together:
        print_shared(options, given)
        return
    titles = [f"{job}: {what}" for job in ("step", "pass") for what in ("kernels", "waits", "GFLOP")]
    print(f"| method | {' | '.join(titles)} | graph breaks |\n| --- |" + " ---: |" * (len(titles) + 1), flush=True)
    for name in options.methods:
        steps, sampler = training_step(new(name, options.preset), given, options.genes), METHODS[name]
        cells = shown(steps)
        cells += (
            shown(sampling_pass(new(name, options.preset), given, options.genes, *sampler)) if sampler else ["-"] * 3
        )
        context = Context(tuple(map(str, range(options.genes))))
        cells.append(str(graph_breaks(new(name, options.preset), given, context)) if options.breaks else "-")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        if options.places and steps.waits:
            print("\n".join(f"  {count} x {place}" for place, count in steps.waits.items()))


if __name__ == "__main__":
    main()
