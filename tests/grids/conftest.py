"""Manifests and records made by hand."""

from stbench.evaluation.record import Record, TaskFacts
from stbench.evaluation.summaries import summarise
from stbench.grids.manifest import FoldSlides, Series
from stbench.studies.sweep.grid import SweepManifest
from stbench.studies.sweep.request import SweepRequest

from ..evaluation.conftest import card, cohort, method, settings, slides, split, task

__all__ = ["card", "cohort", "method", "settings", "slides", "split", "task"]

SLIDES = ["t1", "t2", "t3"]


def series(name, **changes):
    said = {
        "name": name,
        "method": name,
        "kind": "discriminative",
        "variant": False,
        "control": False,
        "overrides": {},
        "settings": {"k": 1},
        "draws": 1,
    }
    return Series.model_validate({**said, **changes})


def manifest(*members, **changes):
    """The manifest of a sweep; changes are options of its request, or ``train``, ``validation``, ``test``."""
    parts = {"train": ["a1"], "validation": ["b1"], "test": SLIDES}
    parts |= {name: changes.pop(name) for name in list(changes) if name in parts}
    given = changes.pop("series", None) or list(members) or [series("flag")]
    request = SweepRequest.read({"dataset": "tiny", "genes": [5, 50], "controls": False, **changes})
    fold = FoldSlides(name=request.split, **parts)
    return SweepManifest(request=request.dump(), cohort="tiny", folds=[fold], series=given)


def facts(genes, **changes):
    said = {
        "hash": f"{genes:064d}",
        "dataset": "tiny",
        "simulated": False,
        "n_genes": genes,
        "genes": [f"G{i}" for i in range(genes)],
        "normalization": "log1p: natural log of 1 + raw counts",
        "encoder": "handcrafted-v1/1",
        "patch": "112 um",
        "protocol": "slide",
        "train": ["a1"],
        "validation": ["b1"],
        "test": SLIDES,
        "patients": {"a1": "a", "b1": "b", **dict.fromkeys(SLIDES, "c")},
        "leak_fraction": 0.0,
        "n_spots": dict.fromkeys(["a1", "b1", *SLIDES], 10),
        "data_digest": "d",
    }
    return TaskFacts.model_validate({**said, **changes})


def record(method, task, values, kind="discriminative", seed=0, **changes):
    metrics = {name: summarise(dict(zip(SLIDES, values, strict=True))) for name in ("pcc", "mse", "gsc", "ssc")}
    said = {
        "status": "done",
        "task": task,
        "method": method,
        "title": method,
        "kind": kind,
        "entry": f"stbench:{method}",
        "preset": "small",
        "settings": {},
        "seed": seed,
        "draws": 1,
        "encoder": task.encoder,
        "command": "stbench run ...",
        "metrics": metrics,
        "seconds": {"fit": 2.0 + seed, "predict": 1.0},
        "peak_memory_mb": 100.0,
    }
    return Record.model_validate({**said, **changes})
