"""Small helpers for what people read and type."""

from argparse import Namespace

import numpy as np
import pytest
import torch

from stbench.errors import SettingError
from stbench.text import count, duration, first_line, misnamed, named, one_line, parse_names, parse_numbers, printable


class MuteError(Exception):
    def __str__(self):
        raise ValueError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError(""), "ValueError"),
        (ValueError("\n  two\n"), "two"),
        (MuteError(), "MuteError"),
        ("text", "text"),
        (ValueError("\ud800 \x1b[31mred"), r"\ud800 \x1b[31mred"),
        (ValueError("\x00" * 3 + "\nb"), r"\x00\x00\x00"),
        (ValueError("a" * 10_000), "a" * 500 + " ..."),
    ],
)
def test_first_line(error, line):
    assert first_line(error) == line


def test_one_line():
    assert one_line(" a\n  b\tc ") == "a b c"
    assert one_line(ValueError("a\nb\x1b")) == r"a b\x1b"
    assert (one_line(ValueError(" ")), one_line(MuteError()), one_line("")) == ("ValueError", "MuteError", "")


def test_kind_and_message():
    assert [named(ValueError("a\nb")), named(ValueError()), named(MuteError())] == [
        "ValueError: a",
        "ValueError",
        "MuteError",
    ]


def test_count():
    assert [count(0, "slide"), count(1, "slide"), count(2, "slide")] == ["0 slides", "1 slide", "2 slides"]


@pytest.mark.parametrize(("seconds", "said"), [(5, "about 5 s"), (240, "about 4 min"), (9000, "about 2.5 h")])
def test_duration(seconds, said):
    assert duration(seconds) == said


def test_numbers_come_out_ascending():
    assert parse_numbers("--genes", "200, 10,50", 2) == (10, 50, 200)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "whole numbers"),
        ("10,x", "'10,x'"),
        ("10,-5", "whole numbers"),
        ("10,1", "from 2 up, found 1"),
        ("10,50,10", "10 once, found it 2 times"),
    ],
)
def test_numbers_that_are_none(text, said):
    with pytest.raises(SettingError, match=said):
        parse_numbers("--genes", text, 2)


def test_names():
    assert parse_names("flag, ridge", "--methods") == ("flag", "ridge")
    assert parse_names("", "--methods") == ()
    with pytest.raises(SettingError, match="flag once"):
        parse_names("flag,ridge,flag", "--methods")


def test_what_moves_a_cursor_is_shown_as_its_code():
    assert printable("a\x1b[31mb\x07\tc\nd") == "a\\x1b[31mb\\x07 c d"
    assert printable("a\nb\tc\x9b", keep="\n\t") == "a\nb\tc\\x9b"
    assert printable("\u202eabc\ud800") == "\\u202eabc\\ud800"
    assert printable("Größe µ ± 日本 e\u0301") == "Größe µ ± 日本 e\u0301"


def test_advice_to_load_pickled_objects_is_not_passed_on(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object))
    torch.save({"a": Namespace()}, tmp_path / "a.pt")
    loads = [
        lambda: np.load(tmp_path / "a.npy", allow_pickle=False),
        lambda: torch.load(tmp_path / "a.pt", weights_only=True),
    ]
    for load in loads:
        with pytest.raises(Exception, match=r"pickle|weights_only") as error:
            load()
        said = first_line(error.value)
        assert "never loaded" in said
        assert not [word for word in ("allow_pickle", "weights_only", "trust", "=") if word in said]


@pytest.mark.parametrize("name", ["", ".", "..", "...", "a/b", "a\\b", "a\nb", "a\x1b", "a\u202eb", "a\udcffb", "/a"])
def test_names_that_may_not_become_part_of_a_file_name(name):
    assert "rename it" in misnamed(name)
    assert misnamed("S1 (a).b") == misnamed(".a") == ""
