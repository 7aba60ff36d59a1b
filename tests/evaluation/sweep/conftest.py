"""Manifests made by hand."""

from stbench.evaluation.sweep.manifest import Manifest, Series

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
    said = {
        "dataset": "tiny",
        "cohort": "tiny",
        "simulate": [],
        "split": "slide",
        "split_seed": 0,
        "train": ["a1"],
        "validation": ["b1"],
        "test": SLIDES,
        "normalization": "log1p",
        "encoder": None,
        "weights": None,
        "patch": None,
        "preset": "small",
        "draws": None,
        "genes": [5, 50],
        "seeds": [0],
        "control_seed": 0,
        "series": list(members) or [series("flag")],
        "ceilings": False,
    }
    return Manifest.model_validate({**said, **changes})
