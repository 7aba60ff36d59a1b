"""Runs of dummies on a cohort of eight tiny slides, with a picture each."""

import json
from dataclasses import replace

import numpy as np
import pytest

from stbench.catalogue import DatasetCard, MethodCard
from stbench.evaluation.build import build_task
from stbench.evaluation.rescore import Truths
from stbench.evaluation.run import run_method
from stbench.evaluation.task import TaskSettings
from stbench.pages.plots.material import Material

from ..evaluation.conftest import DUMMIES, Colours, make_cohort, make_slide


class Picture(Colours):
    """A picture of 80 by 80 pixels, reduced to 40."""

    def size(self):
        return 80, 80

    def thumbnail(self, longest_px):
        return np.full((40, 40, 3), 200, dtype=np.uint8)


def pictured(slide):
    return replace(slide, image=Picture(slide.id), um_per_px=0.5)


def eight_slides():
    return [pictured(make_slide(f"P{p}-s{s}", f"P{p}")) for p in range(4) for s in range(2)]


@pytest.fixture
def slides():
    return eight_slides()


def running(slides, tmp_path, monkeypatch):
    """What runs a sampler and a control on some slides, and says what pictures are made of."""
    card = DatasetCard(name="tiny", title="Tiny", patch={"px": 8})
    cohort = []
    monkeypatch.setattr("stbench.evaluation.rescore.open_dataset", lambda *_, **__: (make_cohort(cohort), card))

    def make(name="runs", slides=slides, methods=("generative", "control"), draws=3, genes=5):
        cohort[:] = slides
        parts = {"train": ["P1-s0", "P0-s0", "P0-s1"], "validation": ["P2-s0"], "test": ["P3-s0", "P3-s1"]}
        split = tmp_path / "mine.json"
        split.write_text(json.dumps(parts))
        task = build_task(make_cohort(slides), card, TaskSettings(genes=genes, split=str(split), encoder="mean-rgb"))
        for kind in methods:
            entry = MethodCard(name=f"one-{kind}", title=kind, entry=f"{DUMMIES}:SlideMean", kind=kind, draws=draws)
            run_method(task, entry, folder=tmp_path / name / kind)
        return Material.at([tmp_path / name], Truths(None, tmp_path / "cache"))

    return make


@pytest.fixture
def at(slides, tmp_path, monkeypatch):
    """As :func:`running`, below ``tmp_path``."""
    return running(slides, tmp_path, monkeypatch)


@pytest.fixture
def view(at):
    material = at()
    return material.view("P3-s0", material.predicting)
