import errno

import numpy as np
import pytest
from PIL import Image

from stbench.data.image import PatchSpec
from stbench.data.images import ImageFile
from stbench.errors import SettingError
from stbench.features.patches import SlidePatches
from stbench.reporting import SILENT


@pytest.fixture
def slide(make_slide, memory_image, tissue):
    return make_slide(memory_image(tissue(300, 0)))


class Messages:
    def __init__(self):
        self.lines = []

    def info(self, message):
        self.lines.append(message)


def patches_of(slide, cache_dir=None, reporter=SILENT):
    return SlidePatches(slide.image, slide.spot_ids, slide.xy, PatchSpec(px=64), cache_dir, reporter)


def test_patches_are_centred_on_their_spots(slide):
    picture = slide.image.pixels
    expected = [picture[c - 32 : c + 32, c - 32 : c + 32] for c in (60, 105, 150, 195, 240)]
    np.testing.assert_array_equal(patches_of(slide).array(64), expected)


def test_batches_join_to_the_array(slide):
    patches = patches_of(slide)
    batches = list(patches.batches(64, size=2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(batches), patches.array(64))


def test_the_middle_of_a_neighbourhood_is_the_patch(slide):
    (wide,) = patches_of(slide).batches(64, extent=3)
    assert wide.shape == (5, 192, 192, 3)
    np.testing.assert_array_equal(wide[:, 64:128, 64:128], patches_of(slide).array(64))


def test_stored_patches_are_cut_once(slide, tmp_path):
    first = patches_of(slide, tmp_path).array(64)
    cuts = slide.image.cuts
    again = patches_of(slide, tmp_path).array(64)
    assert slide.image.cuts == cuts
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, patches_of(slide).array(64))
    with pytest.raises(ValueError, match="read-only"):
        again[0] = 0


def test_another_side_is_another_entry(slide, tmp_path):
    Image.fromarray(slide.image.pixels).save(tmp_path / "slide.png")
    patches = SlidePatches(ImageFile(tmp_path / "slide.png"), slide.spot_ids, slide.xy, PatchSpec(px=64), tmp_path)
    assert patches.array(32).shape[1] == 32
    assert patches.array(16).shape[1] == 16


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "header": lambda path: flip(path, 70),
    "a pixel": lambda path: flip(path, 30_000),
    "seal": lambda path: flip(path, -1),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_patches_are_said_and_cut_again(slide, tmp_path, kind):
    first = np.array(patches_of(slide, tmp_path).array(64))
    (path,) = tmp_path.rglob("*.npy")
    DAMAGE[kind](path)
    messages = Messages()
    np.testing.assert_array_equal(patches_of(slide, tmp_path, messages).array(64), first)
    assert messages.lines == [f"patch cache entry {path} is damaged (its checksum differs); it is rebuilt"]
    patches_of(slide, tmp_path, messages).array(64)
    assert len(messages.lines) == 1


def test_an_intact_entry_is_read_where_nothing_can_be_locked(slide, tmp_path, monkeypatch):
    first = np.array(patches_of(slide, tmp_path).array(64))

    def refuse(*args, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("stbench.features.patches.filling", refuse)
    np.testing.assert_array_equal(patches_of(slide, tmp_path).array(64), first)


def test_unwritable_cache_says_so(slide, tmp_path):
    (tmp_path / "patches").write_text("a file")
    with pytest.raises(SettingError, match=r"expected to write patches .* choose another cache folder"):
        patches_of(slide, tmp_path).array(64)


def test_a_disk_that_fills_up_leaves_nothing_half_written(slide, tmp_path, monkeypatch):
    def full(self, side):
        yield np.zeros((1, side, side, 3), dtype=np.uint8)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(SlidePatches, "batches", full)
        with pytest.raises(SettingError, match="No space left on device; choose another cache folder"):
            patches_of(slide, tmp_path).array(64)
    assert not list(tmp_path.rglob("*.npy"))
    np.testing.assert_array_equal(patches_of(slide, tmp_path).array(64), patches_of(slide).array(64))
