"""What a training step of graph diffusion costs: scalar attention against the released per-channel attention.

Run ``python benchmarks/graph_diffusion.py``; it prints a markdown table for one window at the paper's size. A step is
forward, loss and backward of the method's own objective. Steps of all variants take turns in one process, so that a
slower minute of the machine slows them alike; memory of every variant is taken in a process of its own, whose allocator
is told to return what is freed at once.

- step s, CPU s: shortest wall and processor time of several steps.
- times faster: median over the turns of the wall time of the variant before it, per channel, divided by its own.
- peak MB: largest resident memory during a step above that before it; weights, gradients and optimiser state are
  there before, and so is what a step on a few spots leaves behind (libraries, their scratch memory).
- kept MB: tensors held for the backward pass, parameters left out, every storage counted once.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from stbench.methods.base import Context, LabelledSlide, SlideInputs
from stbench.methods.nn.window_method import WindowDiffusion
from stbench.methods.registry import find_method, method_class, resolve_settings

VARIANTS = {
    "node-diffusion, per channel as released": ("node-diffusion", {"attention": "channel", "edge_stream": "true"}),
    "node-diffusion, scalar, static": ("node-diffusion", {}),
    "joint-diffusion, per channel as released": ("joint-diffusion", {"attention": "channel"}),
    "joint-diffusion, scalar": ("joint-diffusion", {}),
}
_PITCH_PX = 290
_MB = 1024**2


def slide(n_spots: int, n_genes: int, n_features: int) -> LabelledSlide:
    """One window of made-up spots."""
    generator = np.random.default_rng(0)
    side = int(np.ceil(n_spots**0.5))
    xy = np.stack(np.divmod(np.arange(n_spots), side), axis=1).astype(np.float32) * _PITCH_PX
    features = generator.normal(size=(n_spots, n_features)).astype(np.float32)
    expression = np.log1p(generator.poisson(5, (n_spots, n_genes))).astype(np.float32)
    return LabelledSlide(SlideInputs(f"{n_spots}", None, features, xy), expression)


class Step:
    """Micro-steps of one variant on one window, without the optimiser."""

    def __init__(self, method: str, overrides: dict[str, str], options: argparse.Namespace) -> None:
        card = find_method(method)
        settings = resolve_settings(card, method_class(card), "paper", {**overrides, "window_px": "1e6"})
        found = method_class(card)(settings)
        assert isinstance(found, WindowDiffusion)
        genes = tuple(f"G{k}" for k in range(options.genes))
        self.trainer, self.small = (
            found._trainer([made], [made], Context(genes, device=options.device))
            for made in (slide(n, options.genes, options.features) for n in (options.spots, 4))
        )
        self.small.module = self.trainer.module
        self.parameters = list(self.trainer.module.parameters())
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.trainer.stepper.optimizer.step()  # its state is there before memory is read

    def __call__(self, *, small: bool = False) -> None:
        objective = (self.small if small else self.trainer).objective
        losses = objective.losses(self.trainer.module.train(), 0, torch.Generator().manual_seed(0))
        losses["total"].backward()  # type: ignore[no-untyped-call]

    def kept(self) -> int:
        """Bytes held for the backward pass."""
        own = {parameter.untyped_storage().data_ptr() for parameter in self.parameters}
        held: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                held[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self()
        return sum(held.values())


def peak_bytes(step: Step, device: str) -> int:
    """Largest memory of a step above that before it."""
    step(small=True)
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() - before
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    step()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


def seconds(step: Step, device: str) -> tuple[float, float]:
    """Wall and processor time of a step."""
    start, worked = time.perf_counter(), time.process_time()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - worked


def times(options: argparse.Namespace) -> list[str]:
    """Columns of every variant; those at odd places are compared with the one before."""
    steps = [Step(*VARIANTS[name], options) for name in options.variants]
    turns = np.array([[seconds(step, options.device) for step in steps] for _ in range(options.repeats + 1)])[1:]
    rows = []
    for k, step in enumerate(steps):
        parameters = sum(parameter.numel() for parameter in step.parameters) / 1e6
        wall, processor = turns[:, k].min(axis=0)
        faster = np.median(turns[:, k - k % 2, 0] / turns[:, k, 0])
        rows.append(f"{parameters:.1f} | {wall:.3f} | {processor:.3f} | {faster:.2f}")
    return rows


def memory(options: argparse.Namespace) -> list[str]:
    """Columns of the first variant: megabytes."""
    step = Step(*VARIANTS[options.variants[0]], options)
    return [f"{peak_bytes(step, options.device) / _MB:.0f} | {step.kept() / _MB:.0f}"]


def columns(part: str, names: list[str], options: argparse.Namespace) -> list[str]:
    """The columns, from a process of their own."""
    words = [f"--{key}={value}" for key, value in vars(options).items() if key not in ("variants", "part")]
    environment = dict(os.environ)
    if part == "memory":
        environment["MALLOC_MMAP_THRESHOLD_"] = "65536"
    command = [sys.executable, __file__, *words, f"--part={part}", "--variants", *names]
    return subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout.splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--part", choices=["time", "memory"], help="columns alone")
    parser.add_argument("--spots", type=int, default=30)
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--features", type=int, default=1024, help="width of the image features")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.part:
        print("\n".join({"time": times, "memory": memory}[options.part](options)))
        return
    print(f"{options.spots} spots, {options.genes} genes, {options.device}, {options.threads} threads\n")
    print("| variant | M parameters | step s | CPU s | times faster | peak MB | kept MB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for name, spent in zip(options.variants, columns("time", options.variants, options), strict=True):
        print(f"| {name} | {spent} | {columns('memory', [name], options)[0]} |", flush=True)


if __name__ == "__main__":
    main()
