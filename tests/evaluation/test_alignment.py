"""Vectors of a gene model in a whole run: training slides alone, test labels never."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from stbench.evaluation.build import build_task
from stbench.evaluation.run import run_method
from stbench.methods.registry import find_method

from .conftest import GENES, N_SPOTS, make_cohort, scrambled

TRAIN = ("P0-s0", "P0-s1", "P1-s0")
TEST = ("P3-s1", "P3-s0", "P2-s1")


def checkpoint(slides, card, settings, folder, **overrides):
    record = run_method(
        build_task(make_cohort(slides), card, settings),
        find_method("flag"),
        folder=folder,
        preset="test",
        overrides={**overrides, "max_updates": "4", "validate_every": "4"},
        draws=1,
    )
    assert record.status == "done", record.reason
    return {name: value.tobytes() for name, value in load_file(folder / "checkpoint.safetensors").items()}


@pytest.mark.parametrize("align", ["gene", "spot"])
def test_labels_of_test_slides_do_not_move_the_checkpoint(slides, card, settings, tmp_path, align):
    generator, vectors = np.random.default_rng(0), tmp_path / "vectors"
    vectors.mkdir()
    (vectors / "genes.txt").write_text("\n".join(GENES))
    middle = (len(GENES),) if align == "gene" else ()
    for slide in TRAIN:
        found = generator.normal(size=(N_SPOTS, *middle, 4)).astype(np.float16)
        np.save(vectors / f"{slide}_{align}_embeddings.npy", found)
    said = {"prior": f"file:{vectors}", "align": align}
    before = checkpoint(slides, card, settings, tmp_path / "before", **said)
    altered = [scrambled(slide) if slide.id in TEST else slide for slide in slides]
    assert checkpoint(altered, card, settings, tmp_path / "after", **said) == before
    altered = [scrambled(slide) if slide.id in TRAIN else slide for slide in slides]
    assert checkpoint(altered, card, settings, tmp_path / "other", **said) != before
