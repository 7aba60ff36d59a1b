"""`stbench encode`."""

import hashlib
import shutil
from pathlib import Path

import numpy as np

from stbench.evaluation.record import read_record

from .conftest import TINY


def test_a_cohort_is_encoded_once_and_runs_find_it(stbench):
    words = ["encode", "--dataset", "simulated", "--encoder", "mean-rgb", *TINY, "--patch", "60px"]
    first = stbench(*words)
    assert first.code == 0, first.err
    assert [line.split()[1:3] for line in first.out.splitlines()[2:]] == [["16", "3"]] * 3
    assert stbench(*words).code == 0


def test_named_encoders_are_listed_and_need_weights(stbench):
    ended = stbench("encode", "--list")
    assert "MahmoodLab/UNI2-h" in ended.out
    (phikon,) = [line for line in ended.out.splitlines() if line.startswith("phikon-v2")]
    assert "TCGA 29,502" in phikon
    assert "expected a local weight file, found none" in stbench("encode", "--encoder", "uni", *TINY).reason
    assert "did you mean" in stbench("encode", "--encoder", "unii", *TINY).reason


def test_slides_without_pictures_run_on_precomputed_features(stbench):
    assert stbench("datasets", "export", "simulated", "own", *TINY).code == 0
    shutil.rmtree("own/patches")
    slides = sorted(path.stem for path in Path("own/st").iterdir())
    words = ["--dataset", "own/", "--encoder", "precomputed", "--weights", "features"]
    run = ["run", "--method", "ridge", "--method", "ridge-rgb", "--genes", "5", *words, "--no-controls", "--out"]
    Path("features").mkdir()
    assert f"found no file for {', '.join(slides)}" in stbench(*run, "runs", "--dry-run").reason
    for slide in slides:
        np.save(f"features/{slide}.npy", np.random.default_rng(0).normal(size=(16, 7)))
    ended = stbench("encode", *words)
    assert [line.split()[:3] for line in ended.out.splitlines()[2:]] == [[slide, "16", "7"] for slide in slides]
    assert stbench(*run, "runs").code == 1
    record = read_record(Path("runs/ridge"))
    digests = {slide: hashlib.sha256(Path(f"features/{slide}.npy").read_bytes()).hexdigest() for slide in slides}
    assert (record.status, record.task.feature_files) == ("done", digests)
    assert (record.encoder, record.task.encoder[-2:]) == (record.task.encoder, "/7")
    assert "needs pictures for its encoder mean-rgb" in read_record(Path("runs/ridge-rgb")).reason
    np.save(f"features/{slides[0]}.npy", np.ones((16, 7)))
    assert stbench(*run, "other").code == 1
    assert read_record(Path("other/ridge")).task.hash != record.task.hash
