"""Small pictures for the tests of the features."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from stbench.data.image import ImageArray, ImageSource, PatchSpec
from stbench.data.slide import SPATIAL, Slide


class MemoryImage(ImageSource):
    """A picture in memory that counts how often its patches are cut."""

    def __init__(self, pixels: ImageArray, um_per_px: float | None = None, served: bool = True) -> None:
        self.pixels, self.um_per_px, self.served = pixels, um_per_px, served
        self.cuts = 0

    def digest(self) -> str:
        return str(int(self.pixels.astype(np.int64).sum()))

    def size(self) -> tuple[int, int] | None:
        return (self.pixels.shape[1], self.pixels.shape[0]) if self.served else None

    def thumbnail(self, longest_px: int) -> ImageArray:
        step = -(-max(self.pixels.shape) // longest_px)
        return self.pixels[::step, ::step]

    def patches(self, spot_ids: list[str], xy: np.ndarray, spec: PatchSpec) -> Iterator[ImageArray]:
        side = spec.px if spec.px is not None else spec.out_px
        padded = np.pad(self.pixels, ((side, side), (side, side), (0, 0)), constant_values=255)
        for x, y in np.rint(xy).astype(int):
            self.cuts += 1
            top, left = y + side - side // 2, x + side - side // 2
            yield padded[top : top + side, left : left + side]


@pytest.fixture(scope="session")
def tissue() -> Callable[..., ImageArray]:
    return _tissue


@pytest.fixture(scope="session")
def memory_image() -> type[MemoryImage]:
    return MemoryImage


@pytest.fixture(scope="session")
def make_slide() -> Callable[..., Slide]:
    return _slide


def _tissue(side: int, seed: int, nuclei: int = 60) -> ImageArray:
    """Pink ground with round dark nuclei."""
    generator = np.random.default_rng(seed)
    picture = np.full((side, side, 3), (225, 170, 200), dtype=np.float64)
    picture += generator.normal(0, 6, size=(side, side, 1))
    rows, columns = np.mgrid[:side, :side]
    for y, x in generator.uniform(4, side - 4, size=(nuclei, 2)):
        inside = np.exp(-(((rows - y) ** 2 + (columns - x) ** 2) / (2 * 3.0**2)))
        picture -= inside[..., None] * np.array([110, 110, 60])
    return np.clip(picture, 0, 255).astype(np.uint8)


def _slide(image: ImageSource | None, n_spots: int = 5, um_per_px: float | None = None) -> Slide:
    """A slide whose spots lie on the diagonal."""
    places = np.linspace(60, 240, n_spots, dtype=np.float32)
    counts = csr_matrix(np.ones((n_spots, 2), dtype=np.int32))
    adata = AnnData(counts, obsm={SPATIAL: np.column_stack([places, places])})
    adata.obs_names = [f"spot{index}" for index in range(n_spots)]
    return Slide("s1", "p1", adata, image, um_per_px)
