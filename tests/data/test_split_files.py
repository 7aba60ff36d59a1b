"""Split files that are none: one line each, that says what to write."""

import json
import os

import pytest

from stbench.data.slide import SlideRef
from stbench.data.splits import read_split
from stbench.errors import UserError

REFS = [SlideRef(f"S{i}", f"P{i}") for i in range(1, 5)]
PARTS = {"train": ["S1", "S2"], "validation": ["S3"], "test": ["S4"]}


def said(**changes):
    return json.dumps({**PARTS, **changes}).encode()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "Expecting value"),
        (b"null", "NoneType"),
        (b"[1, 2]", "list"),
        (b"{}", r"found \[\]"),
        (said()[:-10], "Unterminated"),
        (said() + b"}", "Extra data"),
        (said(more=["S1"]), "more"),
        (said(train="S1"), 'names of slides as train, found "S1"'),
        (said(train={"S1": 1, "S2": 2}), "as train, found {"),
        (said(test=None), "as test, found null"),
        (said(test=7), "as test, found 7"),
        (said(test=True), "as test, found true"),
        (said(validation=[["S3"]]), r'as validation, found \["S3"\]'),
        (said(validation=[{"id": "S3"}]), "as validation, found {"),
        (said(train=["S1", 2]), "as train, found 2"),
        (said(train=["S1", None]), "as train, found null"),
        (said(train=["S1", ["x" * 1000]]), r"found \[\.\.\.\]"),
        (said(train=["S1", "S1"]), "expected every slide once, found S1 twice"),
        (said(train=["S4"]), "found S4 twice"),
        (said(train=[]), "at least one train slide"),
        (said(train=["s1"]), "unknown slide"),
        (said(train=[""]), "unknown slide"),
        (said().replace(b'"test": ', b'"train": ["S4"], "test": '), "the key 'train' twice"),
        (said().replace(b"S1", "Ä".encode("latin-1")), "utf-8"),
        (said().decode().encode("utf-16"), "utf-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"train": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_what_is_no_split(content, found, tmp_path):
    (tmp_path / "split.json").write_bytes(content)
    with pytest.raises(UserError, match=found) as error:
        read_split(tmp_path / "split.json", REFS)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 500 + len(str(tmp_path))


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "round.json").symlink_to("round.json")
    places = {"pipe.json": "a pipe", ".": "a folder", "gone.json": "No such", "x" * 300: "too long", "round.json": ""}
    for place, found in places.items():
        with pytest.raises(UserError, match=f"expected a split as JSON in .*{found}"):
            read_split(tmp_path / place, REFS)


def test_a_split_with_a_byte_order_mark(tmp_path):
    (tmp_path / "split.json").write_bytes(b"\xef\xbb\xbf" + said())
    assert read_split(tmp_path / "split.json", REFS).train == ("S1", "S2")
