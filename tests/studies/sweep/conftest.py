"""Folders of sweeps over several folds, made by hand: one patient left out in turn, two slides each."""

import numpy as np
import pytest

from stbench.evaluation.record import write_record
from stbench.evaluation.summaries import summarise, summarise_draws
from stbench.grids.manifest import FoldSlides, write_manifest
from stbench.studies.sweep.grid import SweepManifest
from stbench.studies.sweep.request import SweepRequest

from ...grids.conftest import facts, record, series

GENES = (10, 50, 200)
METRICS = ("pcc", "mse", "gsc", "ssc")


class Folder:
    """A sweep whose scores are known: level, patient, seed, noise, what the panel does, and a planted fall.

    Args:
        out: where it lies.
        patients: how many, one fold each.
        seeds: of the series; controls have the first.
    """

    def __init__(self, out, patients=6, seeds=(0, 1, 2)):
        self.out, self.seeds = out, seeds
        self.names = [f"P{i}" for i in range(patients)]
        self.noise = np.random.default_rng(5)
        self.series = []

    def fold(self, patient):
        place = self.names.index(patient)
        validates = self.names[(place + 1) % len(self.names)]
        parts = {"test": [patient], "validation": [validates]}
        parts["train"] = [name for name in self.names if name not in (patient, validates)]
        return {part: [f"{name}-{i}" for name in names for i in (0, 1)] for part, names in parts.items()}

    def task(self, patient, genes, **changes):
        patients = {f"{name}-{i}": name for name in self.names for i in (0, 1)}
        said = {
            "hash": f"{patient}{genes}".ljust(64, "0"), "protocol": f"lopo-{patient}", "rule": "lopo",
            "protocol_hash": f"{genes:064d}", "patients": patients, "n_spots": dict.fromkeys(patients, 10),
        }  # fmt: skip
        return facts(genes, **{**said, **self.fold(patient), **changes})

    def add(self, name, fall=0.0, kind="generative", draws=1, control=False, noise=0.005, level=0.5, **changes):
        """A series that loses ``fall`` from the smallest to the largest panel, beside what the panel takes from all."""
        self.series.append(series(name, kind=kind, draws=draws, control=control, **changes))
        for patient in self.names:
            for genes in GENES:
                for seed in self.seeds[:1] if control else self.seeds:
                    self._put(name, patient, genes, seed, kind, draws, fall, noise, level)
        return self

    def _put(self, name, patient, genes, seed, kind, draws, fall, noise, level):
        share = np.log(genes / GENES[0]) / np.log(GENES[-1] / GENES[0])
        base = level + 0.05 * self.names.index(patient) - (0.2 + fall) * share
        task = self.task(patient, genes)
        values = {slide: float(base + self.noise.normal(0, noise)) for slide in task.test}
        changes = {"metrics": {metric: summarise(values) for metric in METRICS}}
        if draws > 1:
            drawn = {slide: [value - 0.1, value - 0.3] for slide, value in values.items()}
            changes["metrics_single_draw"] = {metric: summarise_draws(drawn) for metric in METRICS}
        one = record(name, task, [0, 0, 0], kind, seed, draws=draws)
        folder = self.out / f"lopo-{patient}" / f"g{genes}" / f"seed{seed}" / name
        folder.mkdir(parents=True)
        write_record(one.model_copy(update=changes), folder)

    def write(self):
        """The file that says what the folder holds."""
        asked = {"dataset": "tiny", "genes": list(GENES), "seeds": list(self.seeds), "split": "lopo"}
        folds = [FoldSlides(name=f"lopo-{name}", **self.fold(name)) for name in self.names]
        request = SweepRequest.read(asked).dump()
        write_manifest(self.out, SweepManifest(request=request, cohort="tiny", folds=folds, series=self.series))
        return self.out


def both(one):
    """The bar and a random spot of eight draws."""
    return one.add("ridge-slide", kind="control", control=True).add(
        "random-spot", kind="control", control=True, draws=8, level=0.1
    )


@pytest.fixture
def folder(tmp_path):
    """Makes a folder."""
    return lambda **said: Folder(tmp_path, **said)
