"""What FLAG's network costs: seconds and peak memory of a training step and of one pass, preset by preset.

Run ``python benchmarks/flag.py --presets paper small --genes 200``; it prints a markdown table. Every preset runs in
a process of its own, so that its peak memory is its own. On a GPU the memory is that of the GPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from stbench.evaluation.hardware import PeakMemory
from stbench.methods.flag.network import FlagNetwork
from stbench.methods.registry import find_method, method_class, resolve_settings


def seconds(job: Callable[[], object], repeats: int, device: str) -> float:
    """Median wall time of a job, after one that is not counted."""
    job()
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        job()
        if device == "cuda":
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - start)
    return sorted(spent)[len(spent) // 2]


def measure(preset: str, options: argparse.Namespace) -> None:
    """Print the row of one preset."""
    torch.set_num_threads(options.threads)
    card = find_method("flag")
    settings = resolve_settings(card, method_class(card), preset, {})
    N, G, d = options.spots, options.genes, options.features
    network = FlagNetwork(settings, G, d, prior_dim=64).to(options.device)  # type: ignore[arg-type]
    x, c = torch.randn(1, N, G, device=options.device), torch.randn(1, N, d, device=options.device)
    edges, mask = torch.rand(1, N, N, 2, device=options.device), torch.ones(1, N, dtype=torch.bool).to(options.device)
    t = torch.full((1,), 0.5, device=options.device)

    def step() -> None:
        out = network(x, t, c, edges, mask, project=True)
        assert out.projected is not None
        (out.value.square().mean() + out.projected.square().mean()).backward()
        network.zero_grad()

    @torch.no_grad()
    def one_pass() -> None:
        network(x, t, c, edges, mask)

    with PeakMemory(options.device) as training:
        step_s = seconds(step, options.repeats, options.device)
    pass_s = seconds(one_pass, options.repeats, options.device)
    parameters = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    peak = training.gpu_mb if training.gpu_mb is not None else training.mb
    print(f"| {preset} | {parameters:.1f} | {step_s:.3f} | {pass_s:.3f} | {peak:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="+", default=["paper", "official", "small"])
    parser.add_argument("--spots", type=int, default=30)
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--features", type=int, default=1024, help="width of the image features")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if len(options.presets) == 1:
        measure(options.presets[0], options)
        return
    print(f"{options.spots} spots, {options.genes} genes, {options.device}, {options.threads} threads\n")
    print(
        "| preset | M parameters | training step s | pass s | peak MB |\n| --- | ---: | ---: | ---: | ---: |",
        flush=True,
    )
    rest = [f"--{name}={getattr(options, name)}" for name in vars(options) if name != "presets"]
    for preset in options.presets:
        subprocess.run([sys.executable, __file__, "--presets", preset, *rest], check=True)


if __name__ == "__main__":
    main()
