"""Links that lead out of a folder of slides are followed and named."""

from stbench.data.audit import audit
from stbench.data.links import links_out
from stbench.data.opening import open_folder

from .layouts import write_her2st, write_hest


def test_links_that_lead_out_are_followed_and_named(tmp_path):
    root, hub = tmp_path / "mine", tmp_path / "hub"
    for seed, name in enumerate(("S1", "S2", "S3")):
        write_hest(root, name, seed=seed)
    hub.mkdir()
    (root / "st/S2.h5ad").rename(hub / "blob")
    (root / "st/S2.h5ad").symlink_to("../../hub/blob")
    (root / "metadata").rename(hub / "metadata")
    (root / "metadata").symlink_to(hub / "metadata")
    (root / "st/inner.txt").symlink_to("S1.h5ad")
    report = audit(open_folder(root, require_image=False))
    (row,) = [row for row in report.rows if row.check == "links"]
    assert not report.failed
    assert row.verdict == "note"
    assert row.detail.startswith(f"2 lead out of {root}, and are followed: metadata -> {hub / 'metadata'}, st/S2.h5ad")
    assert set(links_out(root)) == {"metadata", "st/S2.h5ad"}


def test_a_folder_without_links_has_no_row(tmp_path):
    write_her2st(tmp_path)
    assert not [row for row in audit(open_folder(tmp_path, require_image=False)).rows if row.check == "links"]


def test_links_that_lead_nowhere(tmp_path):
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "gone").symlink_to("/nowhere/at/all")
    assert links_out(tmp_path)["gone"] == "/nowhere/at/all"
