"""Whatever a record says is text on a page."""

import json

import pytest
from markupsafe import Markup

from stbench.pages.report.markup import embed, environment, marked, prose, spread

from ..test_hostile import EVIL


def test_our_wording_has_code_and_a_first_word_set_apart():
    said = prose("*Controls* stand; `a<b>` is <i>, ``x`y`` too")
    assert said == "<em>Controls</em> stand; <code>a&lt;b&gt;</code> is &lt;i&gt;, <code>x`y</code> too"
    assert prose("`<script>` and a lone ` tick") == "<code>&lt;script&gt;</code> and a lone ` tick"


@pytest.mark.parametrize("text", [*EVIL.values(), "</script><!--", "a\u2028b", "&lt;"])
def test_json_in_a_page_ends_nothing_and_is_itself_again(text):
    held = embed({text: [text]})
    assert isinstance(held, Markup)
    assert not {"<", ">", "&", "\u2028", "\u2029"} & set(held)
    assert json.loads(held) == {text: [text]}


def test_a_lone_surrogate_does_not_end_the_writer():
    embed({"a": "\ud800"}).encode("utf-8")


@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL)
def test_what_a_template_prints_is_escaped_and_moves_nothing(text):
    shown = environment().from_string("<b title='{{ text }}'>{{ text }}</b>").render(text=text)
    assert shown.count("<") == 2
    assert not {"\x1b", "\u202e", "\u2028", "\r"} & set(shown)


@pytest.mark.parametrize(
    ("cell", "text", "marks"),
    [
        ("flag, mean of 8 =T", "flag, mean of 8", "=T"),
        ("0.512 ± 0.020 n !", "0.512 ± 0.020 n", "!"),
        ("bleep", "bleep", ""),
        ("n", "n", ""),
        ("0.5 s0.1", "0.5 s0.1", ""),
    ],
)
def test_marks_behind_a_cell(cell, text, marks):
    assert marked(cell) == (text, marks)


def test_a_number_and_what_follows_it():
    assert spread("0.512 ± 0.020 (± 0.001)") == ("0.512", "± 0.020 (± 0.001)")
    assert spread("-") == ("-", "")
