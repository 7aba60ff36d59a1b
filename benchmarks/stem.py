"""What Stem's network costs against the machine's matrix products, and how few steps and draws its sampler needs.

``python benchmarks/stem.py rate`` times a training step and a sampling step of the paper's network, each after products
of 2048 x 2048 matrices, torch's own and that of ``stbench.features.linear``, and prints the share of their rates; the
best of all repeats is the figure.

``python benchmarks/stem.py sampler --data-root DATA --out FOLDER`` trains preset small on the training slides of a
split, samples the validation slides with the full sampler and with fewer steps, and prints two markdown tables:
single draws by number of steps, and means of draws. Every difference is in standard errors of the full sampler. Draws
are kept in the folder: a second call goes on from there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from stbench.evaluation.build import build_task
from stbench.evaluation.plan import plan
from stbench.evaluation.request import Request, default_cache
from stbench.features.linear import linear
from stbench.methods.base import Context, LabelledSlide, Method
from stbench.methods.nn.discrete import linear_schedule
from stbench.methods.registry import find_method, method_class, resolve_settings
from stbench.methods.stem.diffusion import Diffusion
from stbench.methods.stem.network import StemNetwork
from stbench.methods.stem.settings import StemSettings
from stbench.metrics import gsc, mse, pcc, ssc, variance_ratio
from stbench.process import settle
from stbench.training.stepper import Stepper

Draws = NDArray[np.float32]

SIDE = 2048
METRICS = ("PCC", "GSC", "SSC", "MSE", "VR")
_FULL = "1000"


def seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def flops(job: Callable[[], object]) -> int:
    """Multiplications and additions of a job's matrix products and attention, counted one by one."""
    torch.backends.mkldnn.set_flags(_enabled=False)  # torch does not count products it does not make itself
    with FlopCounterMode(display=False) as counter:
        job()
    torch.backends.mkldnn.set_flags(_enabled=True)
    return counter.get_total_flops()


def rate(options: argparse.Namespace) -> None:
    """Print what share of the matrix product's rate the network reaches."""
    settle()
    torch.set_num_threads(options.threads)
    settings = StemSettings(hidden_dim=options.width, dit_layers=options.layers)
    network, process = StemNetwork(settings, options.genes, options.features), Diffusion(linear_schedule())
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    stepper = Stepper(network, optimizer, settings.model_copy(update={"accumulate": 1}))

    def training(spots: int) -> None:
        clean, y = torch.randn(spots, options.genes), torch.randn(spots, options.features)
        k, noise = torch.randint(1000, (spots,)), torch.randn(spots, options.genes)
        losses = process.losses(lambda x, t: network(x, t, y), clean, k, noise)
        stepper.micro_step(losses.total.mean())

    @torch.no_grad()
    def sampling(spots: int) -> None:
        x, k = torch.randn(spots, options.genes), torch.full((spots,), 500)
        process.reverse(network.denoise(x, k, torch.randn(spots, options.width)), x, k)

    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    products = (partial(torch.matmul, a, b), partial(linear, a, b))
    jobs = {"training": (training, options.training_spots), "sampling": (sampling, options.sampling_spots)}
    print(f"{options.genes} genes, width {options.width}, {options.layers} blocks, {options.threads} threads\n")
    against = " | ".join(f"{whose} product | share, best | median" for whose in ("torch's", "oneDNN's"))
    print(f"| step | spots | s | GFLOP/s | {against} |")
    print("| --- |" + " ---: |" * 9)
    for name, (job, spots) in jobs.items():
        step = partial(job, spots)
        counted, spent, rates = flops(step), [], []
        for _ in range(options.repeats):
            rates.append([2 * SIDE**3 / min(seconds(product) for _ in range(2)) for product in products])
            spent.append(seconds(step))
        reached = counted / np.array(spent)
        cells = [f"{name} | {spots} | {min(spent):.3f} | {reached.max() / 1e9:.0f}"]
        for rate in np.array(rates).T:
            shares = np.sort(reached / rate)
            cells.append(f"{rate.max() / 1e9:.0f} | {shares[-1]:.0%} | {np.median(shares):.0%}")
        print(f"| {' | '.join(cells)} |", flush=True)


def sampler(options: argparse.Namespace) -> None:
    """Print how far fewer steps and draws are from the full sampler."""
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    request = Request(
        methods=("stem",), dataset="her2st", genes=(options.genes,), split=options.split, data_root=options.data_root
    )
    planned = plan(request, default_cache())
    settings = planned.task(planned.folds[0], options.genes, request.normalization[0])
    task = build_task(planned.cohort, planned.card, settings, default_cache(), encoder=planned.encoder)
    given = task.given()
    train, validation = given.labelled(given.inputs())
    method = fitted(options, train, validation, tuple(task.facts.genes))
    drawn = {
        (name, slide.inputs.slide_id): kept_draws(options, method, name, slide)
        for name in [*options.steps, _FULL]
        for slide in validation
    }
    for slide in validation:
        report(slide, {name: draws for (name, slide_id), draws in drawn.items() if slide_id == slide.inputs.slide_id})


def fitted(
    options: argparse.Namespace, train: list[LabelledSlide], validation: list[LabelledSlide], genes: tuple[str, ...]
) -> Method:
    path, card = options.out / "stem.safetensors", find_method("stem")
    cls = method_class(card)
    if path.is_file():
        return cls.load(path)
    overrides = dict(text.split("=", 1) for text in options.set)
    method = cls(resolve_settings(card, cls, "small", overrides))
    method.fit(train, validation, Context(genes))
    method.save(path)
    return method


def kept_draws(options: argparse.Namespace, method: Method, name: str, slide: LabelledSlide) -> Draws:
    """(n_draws, n_spots, G) with ``name`` steps (``ddim:50`` with the other sampler); each has a seed of its own."""
    sampler_name, _, steps = name.rpartition(":")
    rules = {"steps": steps, "sampler": sampler_name or "ddpm"}
    fast = type(method)(method.settings.model_copy(update=rules))
    vars(fast).update({key: value for key, value in vars(method).items() if key != "settings"})
    draws = []
    for seed in range(options.draws):
        path = options.out / f"{slide.inputs.slide_id}-{name.replace(':', '-')}-{seed}.npy"
        if not path.is_file():
            np.save(path.with_suffix(".part.npy"), fast.predict(slide.inputs, 1, seed)[0])
            path.with_suffix(".part.npy").replace(path)
        draws.append(np.load(path))
    return np.stack(draws)


def report(slide: LabelledSlide, drawn: dict[str, Draws]) -> None:
    """Two tables of one slide."""
    truth, xy = slide.expression, slide.inputs.xy

    def scores(prediction: Draws) -> NDArray[np.float64]:
        found = (pcc(truth, prediction), gsc(truth, prediction), ssc(truth, prediction, xy))
        return np.array([*found, mse(truth, prediction), variance_ratio(truth, prediction)], dtype=float)

    full = drawn[_FULL]
    single = {name: np.stack([scores(draw) for draw in draws]) for name, draws in drawn.items()}
    error = single[_FULL].std(axis=0, ddof=1) / len(full) ** 0.5
    header("steps, single draws", slide, len(full), single[_FULL].mean(axis=0), error)
    for name, values in single.items():
        own = values.std(axis=0, ddof=1) / len(values) ** 0.5
        row(name, values.mean(axis=0), single[_FULL].mean(axis=0), error, own)

    mean, error = scores(full.mean(axis=0)), jackknife(full, scores)
    header("steps x draws, mean of the draws", slide, len(full), mean, error)
    for name, draws in drawn.items():
        for n in (1, 2, 4, 5, 8, 10, 12, 16, 20):
            groups = [scores(draws[k : k + n].mean(axis=0)) for k in range(0, len(draws) - n + 1, n)]
            if groups:
                own = np.std(groups, axis=0, ddof=1) / len(groups) ** 0.5 if len(groups) > 1 else None
                row(f"{name} x {n}", np.mean(groups, axis=0), mean, error, own)


def jackknife(draws: Draws, scores: Callable[[Draws], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Standard error of the scores of the mean, each draw left out once."""
    n = len(draws)
    left = np.stack([scores(np.delete(draws, k, axis=0).mean(axis=0)) for k in range(n)])
    return np.sqrt((n - 1) / n * np.square(left - left.mean(axis=0)).sum(axis=0))


def header(title: str, slide: LabelledSlide, draws: int, full: NDArray[np.float64], error: NDArray[np.float64]) -> None:
    said = ", ".join(f"{name} {value:.3f} ± {se:.4f}" for name, value, se in zip(METRICS, full, error, strict=True))
    print(f"\n{title}: {slide.inputs.slide_id}; full sampler, {draws} draws: {said}\n")
    print("| steps | " + " | ".join(f"{name} | off by, SE" for name in METRICS) + " | PCC, GSC, SSC within 1 SE |")
    print("| --- " * (2 * len(METRICS) + 2) + "|")


def row(
    name: str,
    values: NDArray[np.float64],
    full: NDArray[np.float64],
    error: NDArray[np.float64],
    own: NDArray[np.float64] | None,
) -> None:
    """One row: values, and their difference from the full sampler in its standard errors, ± their own error."""
    off = (values - full) / error
    spread = ["" if own is None else f" ± {part:.1f}" for part in (error * 0 if own is None else own / error)]
    cells = [f"{value:.3f} | {gap:+.1f}{more}" for value, gap, more in zip(values, off, spread, strict=True)]
    print(f"| {name} | " + " | ".join(cells) + f" | {'yes' if (np.abs(off[:3]) <= 1).all() else 'no'} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    one = kinds.add_parser("rate")
    one.set_defaults(action=rate)
    one.add_argument("--width", type=int, default=384)
    one.add_argument("--layers", type=int, default=12)
    one.add_argument("--features", type=int, default=1536)
    one.add_argument("--training-spots", type=int, default=8)
    one.add_argument("--sampling-spots", type=int, default=8)
    one.add_argument("--repeats", type=int, default=8)
    one.add_argument("--genes", type=int, default=200)
    two = kinds.add_parser("sampler")
    two.set_defaults(action=sampler)
    two.add_argument("--data-root", type=Path, required=True, help="folder that holds her2st/")
    two.add_argument("--out", type=Path, required=True, help="where the fitted method and its draws are kept")
    two.add_argument("--split", default="leaderboards/splits/her2st-same-patient.json")
    two.add_argument("--steps", nargs="*", default=["250", "100", "50", "25", "10"], help="such as 50 or ddim:50")
    two.add_argument("--draws", type=int, default=20)
    two.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings over preset small")
    two.add_argument("--genes", type=int, default=50)
    for kind in (one, two):
        kind.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.action(options)


if __name__ == "__main__":
    main()
