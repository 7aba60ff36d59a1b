"""Files that systems leave in folders are no slides, pictures or tables."""

import pytest

from stbench.data.audit import audit
from stbench.data.opening import open_folder
from stbench.errors import DataError

from .layouts import write_her2st, write_hest, write_spaceranger, write_st

FORK = bytes.fromhex("00051607000200004d6163204f532058") + b"\0" * 4080  # AppleDouble


def litter(root):
    """A fork beside every file, and what systems put into every folder."""
    for path in [path for path in sorted(root.rglob("*")) if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(FORK)
    for folder in [root, *(path for path in sorted(root.rglob("*")) if path.is_dir())]:
        for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (folder / name).write_bytes(b"\0" * 10)
        (folder / "__MACOSX").mkdir()


@pytest.mark.parametrize("write", [write_her2st, write_spaceranger, write_hest, write_st])
def test_a_littered_folder_is_the_folder(tmp_path, write):
    for seed, slide in enumerate(("A1", "A2", "B1")):
        write(tmp_path, slide, seed=seed) if write is not write_spaceranger else write(tmp_path, slide)
    clean = open_folder(tmp_path, require_image=False)
    rows = audit(clean).rows
    litter(tmp_path)
    found = open_folder(tmp_path, require_image=False)
    assert (found.refs, found.left_out, found.layout) == (clean.refs, clean.left_out, clean.layout)
    assert audit(found).rows == rows


def test_a_table_that_is_a_fork_is_no_table(tmp_path):
    write_hest(tmp_path, patient=None)
    (tmp_path / "HEST_v1_1_0.csv").write_text("id,patient\nS1,P8\n")
    litter(tmp_path)
    assert open_folder(tmp_path).refs[0].patient == "A study: P8"


def test_a_folder_of_litter_alone_is_empty(tmp_path):
    (tmp_path / "st").mkdir()
    (tmp_path / "st/._S1.h5ad").write_bytes(FORK)
    with pytest.raises(DataError, match=r"expected slides in .* found only st"):
        open_folder(tmp_path)
