"""Nothing that a cell, a bullet or a command holds can break the page around it."""

from stbench.pages.markdown import bullets, code, table
from stbench.pages.tables import Emphasis, Strong, Table


def test_a_table():
    content = Table(["#", "row", "PCC"], [["", Emphasis("methods")], ["1", "a", Strong("0.5")]], words=(1,))
    assert table(content).splitlines() == [
        "| # | row | PCC |",
        "| ---: | --- | ---: |",
        "|  | *methods* |  |",
        "| 1 | a | **0.5** |",
    ]


def test_a_cell_ends_neither_its_column_nor_its_row():
    lines = table(Table(["a|b", "c"], [["x\n| y", Strong("1|2")]])).splitlines()
    assert lines == ["| a\\|b | c |", "| --- | ---: |", "| x \\| y | **1\\|2** |"]


def test_a_bullet_is_one_line():
    assert bullets(["one\n- two", "three  blanks"]) == "- one - two\n- three  blanks"


def test_a_fence_is_longer_than_any_inside():
    assert code(["stbench run"]) == "```\nstbench run\n```"
    assert code(["a ```` b"]).splitlines() == ["`````", "a ```` b", "`````"]
