"""Slides as scanners write them, made by hand: Hamamatsu's VMS and 3DHISTECH's MIRAX, each an index and other files."""

import io
import struct

import numpy as np
from PIL import Image

from .layouts import picture

SMOOTH = np.asarray(Image.fromarray(picture((8, 6))).resize((512, 384), Image.Resampling.BICUBIC))
UM = 0.25


def jpeg(pixels, **more):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=95, subsampling=0, **more)
    return file.getvalue()


def write_vms(path, pixels=SMOOTH, um=(UM, UM)):
    """One layer in one JPEG, with the restart markers at which OpenSlide jumps in, and a map eight times smaller."""
    tall, wide = pixels.shape[:2]
    path.with_name("pixels.jpg").write_bytes(jpeg(pixels, restart_marker_blocks=16))
    path.with_name("map.jpg").write_bytes(jpeg(pixels[4::8, 4::8], restart_marker_blocks=wide // 64))
    said = {
        "NoLayers": 1, "NoJpegColumns": 1, "NoJpegRows": 1, "ImageFile": "pixels.jpg", "MapFile": "map.jpg",
        "OptimisationFile": "pixels.opt", "SourceLens": 40,
        "PhysicalWidth": round(wide * um[0] * 1000), "PhysicalHeight": round(tall * um[1] * 1000),
    }  # fmt: skip
    lines = [f"{name}={value}" for name, value in said.items()]
    path.write_text("\n".join(["[Virtual Microscope Specimen]", *lines]) + "\n")
    return path


def write_mirax(path, pixels=SMOOTH, side=128, left_out=()):
    """Tiles of a side in one file and their places in another; those left out were not scanned."""
    folder = path.with_suffix("")
    folder.mkdir()
    path.write_bytes(jpeg(pixels[::8, ::8]))  # what a viewer shows of the slide
    down, across = (n // side for n in pixels.shape[:2])
    data, places = b"", []
    for n in (n for n in range(down * across) if n not in left_out):
        y, x = side * (n // across), side * (n % across)
        tile = jpeg(pixels[y : y + side, x : x + side])
        places.append((n, len(data), len(tile), 0))
        data += tile
    (folder / "Data0000.dat").write_bytes(data)
    head = b"01.02" + b"0" * 32
    hier = len(head) + 8
    record, page = hier + 4, hier + 12
    words = [hier, 0, record, 0, page, len(places), 0, *(word for place in places for word in place)]
    (folder / "Index.dat").write_bytes(head + struct.pack(f"<{len(words)}i", *words))
    (folder / "Slidedat.ini").write_text(f"""[GENERAL]
SLIDE_ID={"0" * 32}
IMAGENUMBER_X={across}
IMAGENUMBER_Y={down}
OBJECTIVE_MAGNIFICATION=40
[HIERARCHICAL]
HIER_COUNT=1
HIER_0_NAME=Slide zoom level
HIER_0_COUNT=1
HIER_0_VAL_0_SECTION=LEVEL_0
NONHIER_COUNT=0
INDEXFILE=Index.dat
[DATAFILE]
FILE_COUNT=1
FILE_0=Data0000.dat
[LEVEL_0]
IMAGE_CONCAT_FACTOR=0
OVERLAP_X=0
OVERLAP_Y=0
MICROMETER_PER_PIXEL_X={UM}
MICROMETER_PER_PIXEL_Y={UM}
IMAGE_FORMAT=JPEG
IMAGE_FILL_COLOR_BGR=16777215
DIGITIZER_WIDTH={side}
DIGITIZER_HEIGHT={side}
""")
    return path
