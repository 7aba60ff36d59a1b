"""What HisToGene costs on a long slide: seconds and peak memory of a pass, and of a training step if asked for.

Run ``python benchmarks/histogene.py --spots 20000``; it prints a markdown table, with attention computed blockwise and
with attention that stores the scores where those fit ``--room``. Every row runs in a process of its own, so that its
peak memory is its own. On a GPU the memory is that of the GPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import psutil
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from stbench.evaluation.hardware import PeakMemory
from stbench.methods.histogene.network import HisToGeneNetwork
from stbench.methods.histogene.settings import HisToGeneSettings
from stbench.methods.registry import find_method, method_class, resolve_settings

_MB = 2**20
_KERNELS = {"blockwise": SDPBackend.FLASH_ATTENTION, "scores stored": SDPBackend.MATH}


def measure(preset: str, kernel: str, options: argparse.Namespace) -> None:
    """Print the row of one preset and one kernel."""
    torch.set_num_threads(options.threads)
    card = find_method("histogene")
    said = {"input": "features", **({"layers": str(options.layers)} if options.layers else {})}
    settings = resolve_settings(card, method_class(card), preset, said)
    assert isinstance(settings, HisToGeneSettings)
    network = HisToGeneNetwork(settings, options.genes, options.features, 224, 128).to(options.device)
    spots = torch.randn(1, options.spots, options.features, device=options.device)
    places = torch.stack([torch.arange(options.spots) % 224, torch.arange(options.spots) % 128], dim=1)[None]
    places = places.to(options.device)
    before = psutil.Process().memory_info().rss / _MB
    network.train(options.train)
    with PeakMemory(options.device) as peak, sdpa_kernel(_KERNELS[kernel]), torch.set_grad_enabled(options.train):
        start = time.perf_counter()
        out = network(spots, places)
        if options.train:
            out.square().mean().backward()
        if options.device == "cuda":
            torch.cuda.synchronize()
        spent = time.perf_counter() - start
    used = peak.gpu_mb if peak.gpu_mb is not None else peak.mb - before
    print(f"| {preset} | {settings.layers} | {kernel} | {spent:.1f} | {used:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="+", default=["paper", "small"])
    parser.add_argument("--kernels", nargs="+", default=list(_KERNELS), choices=list(_KERNELS))
    parser.add_argument("--spots", type=int, default=20_000)
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--features", type=int, default=1024, help="width of the image features")
    parser.add_argument(
        "--layers", type=int, default=0, help="blocks instead of the preset's; memory of a pass is the same"
    )
    parser.add_argument("--train", action="store_true", help="a training step instead of a pass")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--room", type=float, default=4096.0, help="MB one layer's scores may take")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if len(options.presets) == len(options.kernels) == 1:
        measure(options.presets[0], options.kernels[0], options)
        return
    print(f"{options.spots} spots, {options.genes} genes, {options.device}, {options.threads} threads\n")
    header = "| preset | layers | attention | s | MB above weights and input |\n| --- | ---: | --- | ---: | ---: |"
    print(header, flush=True)
    known = ("presets", "kernels", "train")
    rest = [f"--{name}={getattr(options, name)}" for name in vars(options) if name not in known]
    rest += ["--train"] if options.train else []
    card = find_method("histogene")
    for preset in options.presets:
        heads = resolve_settings(card, method_class(card), preset, {}).heads  # type: ignore[attr-defined]
        needed = 4 * heads * options.spots**2 / _MB
        for kernel in options.kernels:
            if kernel == "scores stored" and needed > options.room:
                print(f"| {preset} | | {kernel} | not run | {needed:.0f} for one layer's scores |", flush=True)
            else:
                subprocess.run([sys.executable, __file__, "--presets", preset, "--kernels", kernel, *rest], check=True)


if __name__ == "__main__":
    main()
