"""What lies in a cache folder, and what goes when it is cleared."""

import os
import time
from contextlib import suppress

import numpy as np
import pytest
from filelock import FileLock

from stbench.data.image import PatchSpec
from stbench.data.remembered import remembered, remembering
from stbench.data.semisynthetic import SemisyntheticSettings, open_semisynthetic
from stbench.data.simulator import SimulationSettings, open_simulated
from stbench.evaluation.cache import KINDS, clear, entries, usage
from stbench.features.cache import cached
from stbench.features.patches import SlidePatches
from stbench.files import whole
from stbench.reporting import SILENT

from .conftest import Colours, make_cohort, make_slide

TINY = SimulationSettings(n_patients=2, sections_per_patient=1, n_spots=20, n_genes=30, um_per_px=2.0)


@pytest.fixture
def cache(tmp_path):
    """A cache filled by those who fill it, with two files that nobody made, and two half written ones."""
    folder, slides = tmp_path / "cache", [make_slide(f"P{i}-s0", f"P{i}") for i in range(2)]
    for key in "ab":
        cached(folder, key * 64, lambda: np.ones((3, 2), dtype=np.float16))
    xy = np.array([[10, 10], [20, 20]], dtype=np.float32)
    SlidePatches(Colours(), ["a", "b"], xy, PatchSpec(px=8), folder).array(8)
    open_simulated(TINY, folder).load("P01S1")
    with remembering(folder, SILENT):
        remembered("a table", lambda: {"counts": np.ones(3)})
    (tmp_path / "base").mkdir()
    settings = SemisyntheticSettings(n_genes=8, dim=16)
    open_semisynthetic(settings, make_cohort(slides), tmp_path / "base", folder).load("P0-s0")
    (folder / "mine.txt").write_text("mine")
    (folder / "patches" / "mine.npy").write_bytes(b"mine")
    (folder / f".{'c' * 64}.17.part.safetensors").write_bytes(b"half")
    (folder / "patches" / f".{'c' * 64}.17.part.npy").write_bytes(b"half")
    return folder


def test_entries_by_kind(cache):
    found = {one.kind: one for one in usage(cache)}
    assert {kind: one.entries for kind, one in found.items()} == {
        "features": 3, "patches": 2, "parsed": 1, "simulated": 1, "semisynthetic": 1, "other": 2,
    }  # fmt: skip
    assert found["other"].size == 8
    assert sum(one.size for one in found.values()) == sum(p.stat().st_size for p in cache.rglob("*") if p.is_file())
    slide = next(entry for entry in entries(cache) if entry.kind == "simulated")
    assert (slide.name, len(slide.paths)) == ("P01S1", 3)


def test_last_used_is_reading_or_writing(cache):
    now = time.time()
    for path in cache.glob("*.safetensors"):
        os.utime(path, (now - 1000, now - 5000))
    for path in cache.glob(".*"):
        os.utime(path, (now - 9000, now - 3000))
    assert usage(cache)[0].used == pytest.approx(now - 1000)


def test_nothing_there(tmp_path):
    assert {(one.entries, one.size, one.used) for one in usage(tmp_path / "none")} == {(0, 0, None)}
    assert clear(tmp_path / "none", KINDS) == ([], [])


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_goes_alone(cache, kind):
    before = {one.kind: one for one in usage(cache)}
    gone, held = clear(cache, [kind])
    assert ({entry.kind for entry in gone}, len(gone), held) == ({kind}, before[kind].entries, [])
    after = {one.kind: one for one in usage(cache)}
    assert after.pop(kind).entries == 0
    assert all(after[other] == before[other] for other in after)


def test_what_nobody_made_stays(cache):
    clear(cache, KINDS)
    files = sorted(str(path.relative_to(cache)) for path in cache.rglob("*"))
    assert files == ["mine.txt", "patches", "patches/mine.npy"]


def test_what_a_killed_process_left_is_known_by_its_name(cache, monkeypatch):
    places = ("*.safetensors", "patches/*.npy", "simulated/*/P*.*", "semisynthetic/*")
    found = [path for place in places for path in cache.glob(place)]
    paths = [path for path in found if path.name != "mine.npy" and path.name[0] != "." and path.suffix != ".lock"]
    left = [killed(path, monkeypatch) for path in paths]
    assert {one.kind: one for one in usage(cache)}["other"].entries == 2
    clear(cache, KINDS)
    assert len(left) == 7
    assert not any(path.exists() for path in left)


def killed(path, monkeypatch):
    """What stays where a process is killed while it writes."""
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt), whole(path) as part:
        patch.setattr("stbench.files.remove", lambda path: None)
        part.write_bytes(b"half")
        raise KeyboardInterrupt
    assert part.exists()
    return part


def test_a_held_lock_is_respected(cache):
    with FileLock(cache / f"{'a' * 64}.lock"):
        held = clear(cache, ["features"])[1]
    assert [entry.name for entry in held] == ["a" * 64]
    assert (cache / f"{'a' * 64}.safetensors").is_file()
    assert not (cache / f"{'b' * 64}.safetensors").exists()


def test_what_was_cleared_is_made_again(cache):
    clear(cache, KINDS)
    assert open_simulated(TINY, cache).load("P01S1").n_spots == 20
    assert cached(cache, "a" * 64, lambda: np.full((1, 1), 7, dtype=np.float16)) == 7
