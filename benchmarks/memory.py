"""Peak anonymous memory of preparing a task and fitting a method on more and more slides.

Run ``python benchmarks/memory.py``; it prints a markdown table. Simulated slides of 2,726 spots (PRAD's mean) with 1024
features and 200 genes, features from files as ``stbench run --encoder precomputed`` reads them. Anonymous memory is
what a process holds; pages of mapped files, which the system drops when it needs room, do not count. Every row is a
process of its own. FLAG makes a few updates: its memory does not grow with more.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from prior import anonymous_mb
from stbench.catalogue import DatasetCard
from stbench.data.cohort import Cohort
from stbench.data.slide import Slide, SlideRef
from stbench.evaluation.build import build_task
from stbench.evaluation.task import TaskSettings
from stbench.methods.base import Context
from stbench.methods.registry import find_method, method_class, resolve_settings

WIDTH, N_GENES, PANEL = 1024, 300, 200
HELD_OUT = 200  # spots of the validation and the test slide, so that predicting them takes no time
_SAMPLING_S = 0.005
SETTINGS = {
    "ridge": {},
    "flag": {"max_updates": "3", "validation_passes": "1", "validation_draws": "1", "solver": "euler"},
}


class Peak:
    """Largest anonymous memory while its block runs, MB."""

    def __enter__(self) -> Peak:
        self.mb, self._stop = anonymous_mb(), threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLING_S):
            self.mb = max(self.mb, anonymous_mb())


def make_slide(id_: str, n_spots: int) -> Slide:
    rng = np.random.default_rng(int(id_[1:]))
    counts = csr_matrix(rng.poisson(rng.gamma(1.0, 2.0, N_GENES), (n_spots, N_GENES)).astype(np.int32))
    obs = pd.DataFrame(
        {"total_counts": np.asarray(counts.sum(axis=1)).ravel()}, index=[f"s{i}" for i in range(n_spots)]
    )
    xy = np.stack(np.divmod(np.arange(n_spots), 64), axis=1).astype(np.float32) * 250
    var = pd.DataFrame(index=[f"G{i}" for i in range(N_GENES)])
    return Slide(id_, f"P{id_}", AnnData(counts, obs=obs, var=var, obsm={"spatial": xy, "array": xy / 250}))


def make_cohort(n_train: int, n_spots: int) -> tuple[Cohort, dict[str, list[str]]]:
    """Slides drawn whenever they are read, and their split."""
    ids = [f"S{i:02d}" for i in range(n_train + 2)]
    sizes = dict.fromkeys(ids, n_spots) | dict.fromkeys(ids[n_train:], HELD_OUT)
    refs = tuple(SlideRef(id_, f"P{id_}", sizes[id_]) for id_ in ids)
    split = {"train": ids[:n_train], "validation": ids[n_train:-1], "test": ids[-1:]}
    return Cohort("simulated", "memory", refs, lambda id_: make_slide(id_, sizes[id_])), split


def write_features(folder: Path, cohort: Cohort) -> None:
    folder.mkdir()
    for number, ref in enumerate(cohort.refs):
        values = np.random.default_rng(number).normal(size=(ref.n_spots, WIDTH)).astype(np.float32)
        np.save(folder / f"{ref.id}.npy", values)


def measure(method: str, n_train: int, options: argparse.Namespace) -> None:
    """Print the row of one method and number of slides."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohort, split = make_cohort(n_train, options.spots)
        (folder / "split.json").write_text(json.dumps(split), encoding="utf-8")
        write_features(folder / "features", cohort)
        card = find_method(method)
        preset = "small" if "small" in card.presets else "paper"
        fitted = method_class(card)(resolve_settings(card, method_class(card), preset, SETTINGS[method]))
        settings = TaskSettings(PANEL, str(folder / "split.json"), encoder="precomputed", weights=folder / "features")
        before = anonymous_mb()
        with Peak() as making:
            task = build_task(cohort, DatasetCard(name="simulated", title=""), settings, folder / "cache")
            given = task.given()
            train, validation = given.labelled(given.inputs())
        with Peak() as fitting:
            fitted.fit(train, validation, Context(tuple(task.facts.genes)))
    print(f"| {method} | {n_train} | {before:.0f} | {making.mb:.0f} | {fitting.mb:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=list(SETTINGS))
    parser.add_argument("--slides", nargs="+", type=int, default=[3, 12, 23], help="training slides")
    parser.add_argument("--spots", type=int, default=2726)
    options = parser.parse_args()
    if len(options.methods) == len(options.slides) == 1:
        measure(options.methods[0], options.slides[0], options)
        return
    print("| method | training slides | start MB | task MB | fit MB |\n| --- | ---: | ---: | ---: | ---: |", flush=True)
    for method in options.methods:
        for n_train in options.slides:
            words = ["--methods", method, "--slides", str(n_train), "--spots", str(options.spots)]
            subprocess.run([sys.executable, __file__, *words], check=True)


if __name__ == "__main__":
    main()
