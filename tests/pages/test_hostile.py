"""A record is input: what it says reaches pages, tables and terminals as text, and names lead nowhere."""

import csv
import io
import json
import re

import pytest

from stbench.cli.console import draw, say
from stbench.errors import DataError
from stbench.evaluation.record import Record, read_record, write_record
from stbench.pages.archive import ENDING, read_records, write_archive
from stbench.pages.leaderboard import columns_of, leaderboard, table_of, write_leaderboards
from stbench.pages.markdown import bullets, inline, quoted, table
from stbench.pages.protocol import boards_of
from stbench.pages.sections import leaderboard_csv, sections
from stbench.pages.tables import Table
from stbench.text import csv_cell

from .test_leaderboard import facts, flag, record

EVIL = {
    "script": "<script>alert(1)</script>",
    "link": "[here](javascript:alert(1))",
    "heading": "x\n\n# Winner\n\n| a | b |\n",
    "code": "a` <img src=x onerror=alert(1)> `b",
    "escaped": "\\` <script>alert(1)</script> \\`",
    "colour": "\x1b[2J\x1b]0;owned\x07\x1b[31mred",
    "turned": "abc\u202edef",
    "carriage": "good\rbad",
    "separator": "one\u2028# two",
    "pipe": "x\\| 0.999 | 1",
}
DANGER = re.compile(r"(?<!\\)<[A-Za-z/!?]|(?<!\\)\](?=[(\[:])|[\x00-\x09\x0b-\x1f\x7f\u2028\u202e]")


def without_code(page):
    """What is left of a page when its code is out of it, as CommonMark reads it."""
    page = re.sub(r"^(`{3,})\n.*?^\1$", "", page, flags=re.DOTALL | re.MULTILINE)
    found = []
    for line in page.splitlines():
        line = re.sub(r"\\[!-/:-@\[-`{-~]", lambda match: "" if match[0] == "\\`" else match[0], line)
        found.append(re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", line))
    return "\n".join(found)


def evil_record(text):
    return record(
        "x", [0.1] * 4, settings={"depth": text, text: 1}, title=text, preset=text, encoder=text, command=f"run {text}",
        hardware={"cpu": text}, versions={text: text}, notes=[text], request={"overrides": [f"x.depth={text}"]},
        task=facts(
            normalization=f"log1p: {text}", patch=text, encoder=text, about=text, left_out={"Z": text},
            patients={**facts().patients, "t1": text}, genes=[text] * 10,
        ),
    )  # fmt: skip


def evil_page(text):
    failed = record("y", status="failed", reason=text, task=evil_record(text).task)
    return leaderboard([evil_record(text), failed, record("r", [0.05] * 4, "control", task=failed.task)])


@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL)
def test_a_page_holds_text_alone(text):
    page = evil_page(text)
    assert DANGER.findall(without_code(page)) == []
    assert DANGER.findall(re.sub(r"[<\]]", "", page)) == []  # no control character in code either
    headings = [line for line in without_code(page).splitlines() if line.startswith("#")]
    assert len(headings) == 1
    rows = [line for line in without_code(page).splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows}
    assert len(widths) <= 2  # the table of results, that of costs


def test_harmless_texts_are_left_alone():
    for text in (
        "`L` 5 < 6",
        "a [lowest, highest] b",
        "[ceiling]",
        "x <= 3",
        "`[a](b)`",
        "`<b>` and <5",
        "a_b*c*",
    ):
        assert inline(text) == text
        assert bullets([text]) == f"- {text}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>", "&lt;b>"),
        ("a/<patient>/<section>/", "a/&lt;patient>/&lt;section>/"),
        ("[a](b)", "[a]\\(b)"),
        ("[a][b]", "[a]\\[b]"),
        ("[a]: b", "[a]\\: b"),
        ("# a", "\\# a"),
        ("`<b>` <b>", "`<b>` &lt;b>"),
        ("``<b>` <b>", "``&lt;b>` &lt;b>"),
        ("\\`<b>`", "\\`&lt;b>`"),
        ("a\x1b[0m", "a\\x1b[0m"),
    ],
)
def test_what_is_escaped(text, shown):
    assert inline(text) == shown


def test_a_quoted_text_stays_in_its_quotes():
    assert quoted("a`b") == "`` a`b ``"
    assert quoted("ab") == "`ab`"


def test_a_cell_cannot_make_columns():
    for cell in ("a|b", "a\\|b", "a\\\\|b", "`a|b`"):
        row = table(Table(["h", "i"], [[cell, "1"]])).splitlines()[2]
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 3


@pytest.mark.parametrize("start", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1"])
def test_no_cell_of_a_csv_is_a_formula(start):
    patients = {**facts().patients, "t1": start}
    runs = [
        record(
            "x",
            [0.1] * 4,
            settings={start: start},
            request={"overrides": [f"{start}={start}"]},
            task=facts(patients=patients),
        )
    ]
    rows = list(csv.reader(io.StringIO(leaderboard_csv(runs))))
    cells = [cell for row in rows for cell in row]
    assert [cell for cell in cells if re.match(r"\s*[=+@\uff1d]|\s*-\D|-1\+", cell)] == []
    assert any(cell.startswith("'") for cell in cells)


def test_numbers_stay_numbers():
    for text in ("-0.5", "+3", "-1e-05", "-", "0.1", "-.5"):
        assert csv_cell(text) == text
    rows = list(csv.DictReader(io.StringIO(leaderboard_csv([record("x", [-0.5] * 4)]))))
    assert {row["value"] for row in rows} == {"-0.5"}
    assert csv_cell("-0.5+cmd") == "'-0.5+cmd"


@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL)
def test_a_terminal_gets_no_codes(text, capsys):
    (board,) = boards_of(sections([evil_record(text)]))
    draw(table_of(board, columns_of(board)))
    say(text)
    printed = capsys.readouterr().out
    assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", printed) == []


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "../../../OUTSIDE"},
        {"dataset": "/etc/passwd"},
        {"dataset": ".."},
        {"dataset": ""},
        {"dataset": "a\nb"},
        {"dataset": "a\x1b[31m"},
        {"dataset": "x" * 601},
        {"test_dataset": "../x"},
        {"hash": "../../../x"},
        {"hash": ""},
        {"hash": "a b"},
        {"protocol_hash": "../x"},
        {"test": ["../../c1"]},
        {"n_spots": {"a/b": 3}},
        {"patients": {"a\x00b": "p"}},
        {"n_genes": -1},
        {"leak_fraction": float("inf")},
    ],
    ids=str,
)
def test_names_are_patterns(change, tmp_path):
    said = record("x", [0.1] * 4).model_dump()
    said["task"] |= change
    (tmp_path / "record.json").write_text(json.dumps(said))
    with pytest.raises(DataError, match=r"record\.json, found") as error:
        read_record(tmp_path)
    assert len(str(error.value)) < 500 + len(str(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        {"method": "../x"},
        {"method": "=x"},
        {"metrics": {"../pcc": {"mean": 1.0, "std": None, "per_slide": {}}}},
        {"metrics": {"pcc": {"mean": float("nan"), "std": None, "per_slide": {}}}},
        {"metrics": {"pcc": {"mean": 1e999, "std": None, "per_slide": {}}}},
        {"metrics": {"pcc": {"mean": 1.0, "std": None, "per_slide": {"../c1": 1.0}}}},
        {"settings": {"lr": float("inf")}},
        {"request": {"overrides": 3}},
        {"request": {"simulate": [["a"]]}},
        {"predictions": {"../../c1": "a"}},
    ],
    ids=str,
)
def test_so_are_those_of_a_run(change, tmp_path):
    (tmp_path / "record.json").write_text(json.dumps(record("x", [0.1] * 4).model_dump() | change))
    with pytest.raises(DataError, match=r"record\.json, found"):
        read_record(tmp_path)


def test_a_number_too_large_for_a_float_is_none(tmp_path):
    text = json.dumps(record("x", [0.1] * 4, settings={"lr": 7.25}).model_dump())
    (tmp_path / "record.json").write_text(text.replace("7.25", "1e999"))
    with pytest.raises(DataError, match="settings"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"", b"[]", b'{"schema_version": [2]}']
)
def test_what_is_no_record_is_one_line(content, tmp_path):
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(DataError) as error:
        list(read_records([tmp_path]))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    ["rm -rf ~", "stbench run; rm -rf ~", "stbench run $(rm)", "stbench run\nrm", "stbench run 'a", "", '"stbench" x'],
)
def test_no_command_but_ours_is_given_to_be_typed(command):
    assert "To repeat" not in leaderboard([record("x", [0.1] * 4, command=command)])
    ours = "stbench run --dataset 'my cohort' --set 'x=$(rm); y'"
    assert f"```\n{ours}\n```" in leaderboard([record("x", [0.1] * 4, command=ours)])


def test_names_that_folders_have_are_names():
    for name in ("My cohort (v2)", "häm-1", ".hidden", "a.b_c", "her2st-to-mine", "日本"):
        assert Record.model_validate(record("x", [0.1] * 4, task=facts(dataset=name)).model_dump()).task.dataset == name


def test_pages_stay_below_out(tmp_path):
    with pytest.raises(ValueError, match="should match"):
        facts(dataset="../OUTSIDE")
    boards = boards_of(sections([record("x", [0.1] * 4, task=facts(protocol="../../../up.json"))]))
    written = write_leaderboards(boards, tmp_path / "out", with_csv=True)
    assert [path.parent for path in written] == [tmp_path / "out"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_in_a_run_that_was_handed_in_is_refused(tmp_path):
    write_record(record("x", [0.1] * 4), tmp_path / "elsewhere")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/record.json").symlink_to("../elsewhere/record.json")
    with pytest.raises(DataError, match=r"a link out of the folder, to .*elsewhere/record\.json; put the file itself"):
        list(read_records([tmp_path / "run"]))
    (tmp_path / "board").mkdir()
    write_archive(tmp_path / f"one{ENDING}", [record("x", [0.1] * 4)])
    (tmp_path / f"board/one{ENDING}").symlink_to(tmp_path / f"one{ENDING}")
    with pytest.raises(DataError, match="a link out of the folder"):
        list(read_records([tmp_path / "board"]))
    (tmp_path / "latest").symlink_to("elsewhere")
    assert read_record(tmp_path / "latest").method == "x"


def test_two_records_that_contradict_each_other(tmp_path):
    one, other = record("x", [0.1] * 4, created="2026-01-01"), record("x", [0.3] * 4, created="2026-01-02")
    for pair in ([one, other], [other, one]):
        with pytest.raises(
            DataError, match=r"one result of x with seed 0 .*pcc 0\.1 of 2026-01-01 and pcc 0\.3 of 2026-01-02"
        ):
            leaderboard(pair)
    write_archive(tmp_path / f"a{ENDING}", [one, other])
    with pytest.raises(DataError, match="contradict"):
        leaderboard(list(read_records([tmp_path])))
    slides = record("x", [0.0, 0.2, 0.1, 0.1], created="2026-01-03")  # the same mean
    with pytest.raises(DataError, match="contradict"):
        leaderboard([one, slides])
    draws = [flag(metrics_posterior_mean={}), flag(metrics_single_draw={}), flag()]
    assert leaderboard(draws)


def test_records_that_agree_stand_for_each_other():
    one = record("x", [0.1] * 4, created="2026-01-01")
    again = record("x", [0.1 + 1e-9] * 4, created="2026-01-02", seconds={"fit": 3.0})
    assert "x" in leaderboard([one, again, record("x", [0.9] * 4, seed=1), record("x", status="failed", reason="r")])
