"""Readers of the layouts in which slides lie on disk."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint

from stbench.catalogue import Registered, load_point, package_of
from stbench.data.readers import her2st, hest, scanpy_h5ad, spaceranger, spatialdata_zarr, st_folders
from stbench.data.readers.layout import Layout
from stbench.errors import DataError

READERS: dict[str, Layout] = {
    "her2st": her2st.LAYOUT,
    "hest": hest.LAYOUT,
    "spaceranger": spaceranger.LAYOUT,
    "st": st_folders.LAYOUT,
    "h5ad": scanpy_h5ad.LAYOUT,
    "spatialdata": spatialdata_zarr.LAYOUT,
}


def readers() -> Mapping[str, Layout]:
    """Every known layout by name: those of this repository, then those of installed packages.

    Raises:
        UserError: two layouts have one name.
    """
    return Registered("reader", READERS, _of_package)


@cache
def _of_package(point: EntryPoint) -> Layout:
    found = load_point("reader", point)
    if not isinstance(found, Layout):
        raise DataError(
            f"reader {point.name!r} of {package_of(point)}: expected a stbench.data.readers.layout.Layout at "
            f"{point.value!r}, found {found!r}; update or uninstall the package"
        )
    return found
