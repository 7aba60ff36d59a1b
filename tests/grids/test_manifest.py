"""What a sweep's folder belongs to, and what may be added to it."""

import shlex

import pytest

from stbench.errors import DataError, UserError
from stbench.grids.manifest import join, read_manifest, write_manifest
from stbench.studies.sweep.grid import SweepManifest

from .conftest import manifest, series


def test_a_grid_grows(tmp_path):
    write_manifest(tmp_path, manifest(series("flag"), series("ridge", control=True), seeds=[1]))
    asked = manifest(series("ridge"), series("stem"), genes=[5, 200], seeds=[0])
    found = join(tmp_path, asked)
    assert (found.genes, found.seeds, found.control_seed) == ([5, 50, 200], [0, 1], 1)
    assert [(one.name, one.control) for one in found.series] == [("flag", False), ("ridge", False), ("stem", False)]
    assert found.name == asked.name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preset": "paper"}, "preset 'small' -> 'paper'"),
        ({"split_seed": 3, "train": ["b1"], "validation": ["a1"]}, "split_seed 0 -> 3"),
        ({"test": ["t1"]}, "test ['t1', 't2', 't3'] -> ['t1']"),
        ({"draws": 2, "series": [series("flag", settings={"k": 2})]}, "draws None -> 2"),
        ({"series": [series("flag", settings={"k": 2}), series("new")]}, "flag: setting k 1 -> 2"),
        ({"series": [series("flag", method="other.py:Flag")]}, "flag: method 'flag' -> 'other.py:Flag'"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path, changes, said):
    write_manifest(tmp_path, manifest())
    with pytest.raises(UserError) as error:
        join(tmp_path, manifest(**changes))
    assert str(error.value) == f"{tmp_path} belongs to another sweep: {said}; choose another --out"


def test_an_edited_method_is_refused(tmp_path):
    flag = "a" * 64
    write_manifest(tmp_path, manifest(series("flag", code=flag), series("ridge")))
    assert '"code"' in (tmp_path / "sweep.json").read_text()
    assert join(tmp_path, manifest(series("flag", code=flag))).series[0].code == flag
    with pytest.raises(UserError, match=r"another sweep: the code of flag changed since .*: aaaaaaaa -> bbbbbbbb; "):
        join(tmp_path, manifest(series("flag", code="b" * 64)))


def test_grids_of_before_codes_were_kept_go_on(tmp_path):
    write_manifest(tmp_path, manifest(series("flag")))
    assert '"code"' not in (tmp_path / "sweep.json").read_text()
    assert join(tmp_path, manifest(series("flag", code="b" * 64))).series[0].code is None


def test_folders_that_are_no_sweep(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match=r"found notes\.txt"):
        join(tmp_path, manifest())
    with pytest.raises(UserError, match="found a file"):
        join(tmp_path / "notes.txt", manifest())
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(DataError, match="expected the settings of a sweep"):
        join(tmp_path, manifest())


def test_the_name_tells_settings_apart_and_not_sizes():
    assert manifest(genes=[10]).name == manifest(seeds=[4]).name == manifest(series("stem")).name
    assert manifest(preset="paper").name != manifest().name
    assert manifest(split="a/mine.json").name.startswith("tiny-genes-mine-")


def test_the_command_says_every_choice():
    members = [
        series("flag", overrides={"k": "1"}),
        series("wide", method="flag", variant=True, overrides={"k": "[1,2]"}),
        series("ridge", control=True, overrides={"alpha": "2"}),
    ]
    words = shlex.split(manifest(*members, split="a b.json", simulate=["seed=1"], draws=3).command())
    assert words == [
        *("stbench", "sweep-genes", "--methods", "flag", "--variant", "wide=flag,k=[1,2]", "--dataset", "tiny"),
        *("--genes", "5,50", "--seeds", "0", "--preset", "small", "--set", "flag.k=1", "--set", "ridge.alpha=2"),
        *("--split", "a b.json", "--draws", "3", "--simulate", "seed=1"),
    ]
    assert manifest().command().endswith(" --no-controls")


def test_a_copy_takes_the_place_of_damaged_settings(tmp_path):
    write_manifest(tmp_path, grown := manifest(seeds=[0, 1]))
    path, copy = tmp_path / "sweep.json", tmp_path / ".sweep.json"
    whole = path.read_bytes()
    for damage in (whole.replace(b"small", b"paper"), whole[:40], bytes(len(whole)), b""):
        path.write_bytes(damage)
        assert read_manifest(tmp_path, SweepManifest) == grown
        assert join(tmp_path, manifest(seeds=[2])).seeds == [0, 1, 2]
    copy.write_bytes(whole[:-9])
    with pytest.raises(DataError, match=r"expected the settings of a sweep in .*; choose another --out"):
        read_manifest(tmp_path, SweepManifest)
    write_manifest(tmp_path, grown)
    assert copy.read_bytes() == path.read_bytes() == whole
