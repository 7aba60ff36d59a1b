import errno
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stbench.data.image import PatchSpec
from stbench.errors import DataError, SettingError
from stbench.features.cache import cached
from stbench.features.encoder import Encoder
from stbench.features.encoders import load_encoder
from stbench.features.extract import slide_features, white_point

SPEC = PatchSpec(px=64)


class Messages:
    def __init__(self):
        self.lines = []
        self.steps = 0

    def info(self, message):
        self.lines.append(message)

    def track(self, description, total):
        from contextlib import contextmanager

        @contextmanager
        def bar():
            def advance(steps=1, *, note=""):
                self.steps += steps

            yield advance

        return bar()


@pytest.fixture
def sample(make_slide, memory_image, tissue):
    return make_slide(memory_image(tissue(300, 0)))


def only_entry(folder):
    (entry,) = folder.glob("*.safetensors")
    return entry


def test_features_are_those_of_the_patches(sample):
    features = slide_features(sample, load_encoder("mean-rgb"), SPEC)
    picture = sample.image.pixels
    expected = [picture[c - 32 : c + 32, c - 32 : c + 32].mean(axis=(0, 1)) / 255 for c in (60, 105, 150, 195, 240)]
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=5e-4)


def test_hit_equals_miss_equals_no_cache(sample, tmp_path):
    encoder = load_encoder("handcrafted-v1")
    reporter = Messages()
    plain = slide_features(sample, encoder, SPEC)
    cuts = sample.image.cuts
    miss = slide_features(sample, encoder, SPEC, tmp_path, reporter)
    assert sample.image.cuts == 2 * cuts
    hit = slide_features(sample, encoder, SPEC, tmp_path)
    assert sample.image.cuts == 2 * cuts
    assert plain.tobytes() == miss.tobytes() == hit.tobytes()
    assert reporter.steps == sample.n_spots


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_damaged_entry_is_reported_and_rebuilt(sample, tmp_path, damage):
    encoder, reporter = load_encoder("mean-rgb"), Messages()
    first = slide_features(sample, encoder, SPEC, tmp_path)
    entry = only_entry(tmp_path)
    content = bytearray(entry.read_bytes())
    content[-1] ^= 1
    entry.write_bytes({"flip": bytes(content), "truncate": bytes(content[:-4]), "empty": b""}[damage])
    again = slide_features(sample, encoder, SPEC, tmp_path, reporter)
    assert first.tobytes() == again.tobytes()
    assert len(reporter.lines) == 1
    assert entry.name in reporter.lines[0]
    assert "rebuilt" in reporter.lines[0]
    slide_features(sample, encoder, SPEC, tmp_path, reporter)
    assert len(reporter.lines) == 1


def test_whatever_changes_features_changes_the_entry(sample, make_slide, memory_image, tissue, tmp_path):
    rgb = load_encoder("mean-rgb")
    other_picture = make_slide(memory_image(tissue(300, 1)))
    other_pixel_size = make_slide(memory_image(tissue(300, 0)), um_per_px=0.5)
    fewer = sample.take(np.array([0, 1]))
    for slide, encoder, spec in [
        (sample, rgb, SPEC),
        (sample, load_encoder("handcrafted-v1"), SPEC),
        (sample, rgb, PatchSpec(px=80)),
        (other_picture, rgb, SPEC),
        (other_pixel_size, rgb, SPEC),
        (fewer, rgb, SPEC),
    ]:
        slide_features(slide, encoder, spec, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 6
    assert not list(tmp_path.glob("*.part"))


def test_parallel_writers_compute_once(tmp_path):
    script = (
        "import sys, time, numpy as np; from pathlib import Path; from stbench.features.cache import cached\n"
        "folder = Path(sys.argv[1])\n"
        "def compute():\n"
        "    with open(folder / 'log', 'a') as log: log.write('x')\n"
        "    time.sleep(0.3); return np.arange(6, dtype=np.float16).reshape(2, 3)\n"
        "print(cached(folder / 'cache', 'abc', compute).sum())\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in running] == ["15.0"] * 3
    assert (tmp_path / "log").read_text() == "x"


def test_interrupted_computation_leaves_no_entry(tmp_path):
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, "abc", fail)
    assert not list(tmp_path.glob("*.safetensors"))
    assert cached(tmp_path, "abc", lambda: np.ones((1, 1), dtype=np.float16)).sum() == 1


def test_cache_folder_that_is_a_file_is_refused(sample, tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(
        SettingError,
        match=r"expected to write features \w+ into .*cache, found.*; choose another cache folder with STBENCH_CACHE",
    ):
        slide_features(sample, load_encoder("mean-rgb"), SPEC, tmp_path / "cache")


def test_a_full_disk_is_said_and_leaves_nothing_half_written(sample, tmp_path, monkeypatch):
    def full(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(SettingError, match=r"expected to write .* No space left on device; choose another cache"):
        slide_features(sample, load_encoder("mean-rgb"), SPEC, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_slide_without_image_is_refused(make_slide):
    with pytest.raises(DataError, match="slide s1 has no image"):
        slide_features(make_slide(None), load_encoder("mean-rgb"), SPEC)


def test_white_point_is_the_colour_of_glass(memory_image):
    picture = np.full((800, 800, 3), 120, dtype=np.uint8)
    picture[:, :100] = (240, 236, 244)
    np.testing.assert_allclose(white_point(memory_image(picture)), [240, 236, 244])
    np.testing.assert_allclose(white_point(memory_image(picture, served=False)), 245)


class Probe(Encoder):
    key, dim = "probe", 2

    def __init__(self, value=0.0, context=1):
        self.value, self.context = value, context
        self.seen = []

    def encode(self, patches, *, white_point, um_per_px):
        self.seen.append((patches.shape[1], um_per_px))
        return np.full((len(patches), 2), self.value, dtype=np.float32)


@pytest.mark.parametrize(
    ("spec", "um_per_px", "context", "seen"),
    [
        (PatchSpec(px=64), None, 1, (64, None)),
        (PatchSpec(px=64), 0.5, 1, (64, 0.5)),
        (PatchSpec(um=32, out_px=64), None, 1, (64, 0.5)),
        (PatchSpec(px=64), 0.5, 2, (128, 0.5)),
        (PatchSpec(um=32, out_px=64), 0.7, 2, (128, 0.5)),
    ],
)
def test_encoder_learns_the_pixel_size_of_its_patches(make_slide, memory_image, tissue, spec, um_per_px, context, seen):
    probe = Probe(context=context)
    slide_features(make_slide(memory_image(tissue(300, 0)), um_per_px=um_per_px), probe, spec)
    assert probe.seen == [seen]


def test_feature_that_is_not_finite_is_refused(sample):
    with pytest.raises(DataError, match=r"slide s1, spot spot0: probe gave a feature that is not finite"):
        slide_features(sample, Probe(np.nan), SPEC)


def test_features_beyond_float16_stay_finite(sample):
    assert np.isfinite(slide_features(sample, Probe(1e9), SPEC)).all()


def test_features_that_slides_bring_along(sample):
    given = np.arange(10, dtype=np.float16).reshape(5, 2)
    adata = sample.adata.copy()
    adata.obsm["features"] = given
    bare = replace(sample, adata=adata, image=None)
    found = slide_features(bare, load_encoder("given"), SPEC)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, given)
    with pytest.raises(DataError, match="has no image"):
        slide_features(bare, load_encoder("mean-rgb"), SPEC)
    with pytest.raises(DataError, match="brings no features along; choose an encoder of pictures"):
        slide_features(sample, load_encoder("given"), SPEC)


def test_given_features_must_be_finite(sample):
    adata = sample.adata.copy()
    adata.obsm["features"] = np.array([[0], [1], [np.nan], [3], [np.inf]])
    with pytest.raises(
        DataError, match=f"spot {sample.spot_ids[2]}: expected finite features, found others on 2 spots"
    ):
        slide_features(replace(sample, adata=adata), load_encoder("given"), SPEC)


def test_a_picture_that_is_too_coarse_says_what_to_do(make_slide, memory_image, tissue):
    image = memory_image(tissue(300, 0))
    slide = make_slide(image, um_per_px=3.3)
    spec = PatchSpec(um=112, out_px=34)
    with pytest.raises(
        DataError, match=r"slide s1: expected patches of at least 64 px for handcrafted-v1, found 112 um,"
    ):
        slide_features(slide, load_encoder("handcrafted-v1"), spec)
    image.finer = "put it there"
    with pytest.raises(DataError, match=r"34 px at .*; put it there, or give --patch 214um or more, or --encoder mean"):
        slide_features(slide, load_encoder("handcrafted-v1"), spec)
    assert slide_features(slide, load_encoder("mean-rgb"), spec).shape == (5, 3)
