"""What README and manual promise: commands can be typed, links lead somewhere, numbers are those of the board."""

import html
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from stbench.catalogue import dataset_cards, method_cards
from stbench.cli.asks import read_config
from stbench.cli.main import app
from stbench.data.splits import is_protocol, is_rule_of_folds
from stbench.errors import UserError
from stbench.evaluation.request import Request
from stbench.studies.ablation.request import AblateRequest
from stbench.studies.sweep.request import SweepRequest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
MANUAL = sorted(path for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".ipynb"))
PAGES = [README, ROOT / "CONTRIBUTING.md", *MANUAL]
OTHERS = [ROOT / f"{folder}/README.md" for folder in ("leaderboards", "leaderboards/sweeps", "benchmarks")]
REQUESTS = {"run": Request, "sweep-genes": SweepRequest, "ablate": AblateRequest}
COMMANDS = typer.main.get_command(app)
UsageError = typer.BadParameter.__mro__[1]  # typer exports no parent of its usage errors


def _read(page):
    """The text of a page; of a notebook its prose, and the commands of its cells as blocks of shell."""
    text = page.read_text(encoding="utf-8")
    return text if page.suffix != ".ipynb" else "\n\n".join(map(_cell, json.loads(text)["cells"]))


def _cell(cell):
    text = "".join(cell["source"])
    commands = re.sub(r"\{\w+\}", "", "\n".join(re.findall(r"^!(.*)$", text, re.MULTILINE)))
    return text if cell["cell_type"] == "markdown" else f"```sh\n{commands}\n```"


def _shown(page):
    """Every command of a page, as words and whether it is whole: lines of shell are, words in prose need not be."""
    text = _read(page)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    shell = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    shell += re.findall(r"(?:^    \S.*\n?)+", prose, re.MULTILINE)
    for line in re.sub(r"\\\n", " ", "\n".join(shell)).splitlines():
        if found := re.match(r"stbench .*", line.strip()):
            yield shlex.split(re.split(r" (?:\|\|?|2>) ?", found[0])[0], comments=True), True
    for found in re.findall(r"`(stbench [^`]+)`", prose):
        yield shlex.split(found), False


SHOWN = [(page, words, whole) for page in PAGES for words, whole in _shown(page)]
NAMES = [f"{page.relative_to(ROOT)}: {shlex.join(words)}" for page, words, _ in SHOWN]


def typed(words):
    """What the command line understands, down to the values of its options; nothing is run.

    Raises:
        UsageError: no such command or option, or one is missing.
        UserError: a value that cannot be.
    """
    command, context, rest = COMMANDS, None, words[1:]
    while True:
        context = command.make_context(words[0], list(rest), parent=context)
        rest = [*context._protected_args, *context.args]
        if not hasattr(command, "commands"):
            break
        _, command, rest = command.resolve_command(context, rest)
    kind = REQUESTS.get(command.name)
    if kind is None:
        return None
    return kind.read({name: context.params[name] for name in kind.options() if context.params.get(name) is not None})


@pytest.fixture
def in_manual(tmp_path, monkeypatch):
    """A folder with the file of options that the manual shows."""
    (said,) = re.findall(r"```toml\n(.*?)```", _read(ROOT / "docs/running.md"), re.DOTALL)
    (tmp_path / "run.toml").write_text(said, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def test_the_pages_show_commands():
    assert len([words for page, words, whole in SHOWN if whole and page == README]) >= 11
    shown = {words[1] for _, words, whole in SHOWN if whole}
    assert shown >= {"run", "cell", "sweep-genes", "ablate", "curse", "leaderboard", "datasets", "methods", "prior"}


@pytest.mark.usefixtures("in_manual")
@pytest.mark.parametrize(("page", "words", "whole"), SHOWN, ids=NAMES)
def test_every_command_shown_can_be_typed(page, words, whole):
    if words[1].startswith("--"):  # it would do what it says
        assert words[1] in [option for one in COMMANDS.params for option in one.opts]
        return
    try:
        request = typed(words)
    except typer.Exit:  # of --help
        return
    except UsageError as error:
        if whole or type(error).__name__ != "MissingParameter":
            pytest.fail(error.message)
        return
    if request is not None and whole:
        assert {name for name in request.methods if ".py:" not in name} <= method_cards().keys()
        assert request.dataset in dataset_cards() or "/" in request.dataset
        split = request.split
        assert is_protocol(split) or is_rule_of_folds(split) or (ROOT / split).is_file() or split == "FILE.json"


@pytest.mark.parametrize(
    "line",
    ["run --metod flag", "runs", "cell runs/grid", "run --seeds 1.5", "datasets fetches", "run --draws many"],
)
def test_a_command_that_cannot_be_typed_is_seen(line):
    with pytest.raises((UsageError, UserError)):
        typed(["stbench", *line.split()])


BOARDS = tomllib.loads((ROOT / "leaderboards/boards.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("board", BOARDS)
def test_every_command_of_a_board_can_be_typed(board):
    names = {"all": "--method flag --method bleep", "data": "data", "secrets": "secrets"}
    folders = set()
    for line in BOARDS[board]["commands"]:
        words = shlex.split(line.format(**names))
        typed(words)
        folders |= {words[place + 1] for place, word in enumerate(words) if word == "--out"} - {"leaderboards"}
        if words[1] == "leaderboard":  # of what was run before it
            assert {word for word in words if word.startswith("runs/")} <= folders


@pytest.mark.usefixtures("in_manual")
def test_the_file_of_options_is_one():
    assert Request.read(read_config(Request, Path("run.toml"))).seeds == (0, 1, 2)


def _anchors(page):
    heads = re.findall(r"^#+ (.*)$", _read(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", _read(page)):
        place, _, anchor = link.partition("#")
        if link.startswith("http"):
            continue
        target = page.parent / place if place else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_the_readme_is_short():
    assert len(_read(README).splitlines()) <= 85


def _tables(text):
    """Rows of all markdown tables, each by the heads of its columns."""
    head, before = [], []
    for line in text.splitlines():
        row = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if row and all(re.fullmatch(r":?-+:?", cell) for cell in row):
            head = before
        elif row and head:
            yield dict(zip(head, row, strict=True))
        elif not row:
            head = []
        before = row


def test_the_result_shown_is_that_of_the_board():
    (place,) = re.findall(r"\[the board\]\((\S+)\)", _read(README))
    board = [row for row in _tables(_read(ROOT / place)) if "row" in row]
    shown = [row for row in _tables(_read(README)) if "row" in row]
    assert len(shown) >= 8
    places = [_place_of(row, board) for row in shown]
    assert places == sorted(places)  # rows are left out, none is moved


def _place_of(row, board):
    (place,) = [place for place, other in enumerate(board) if row.items() <= other.items()]
    return place


def test_the_picture_shown_is_of_a_report_that_a_board_repeats():
    (picture,) = re.findall(r"!\[[^]]*\]\((\S+)\)", _read(README))
    (report,) = re.findall(r"\]\((leaderboards/\S+\.html)\)", _read(README))
    board = (ROOT / report).with_suffix(".md")
    assert (ROOT / picture).is_file()
    assert f"({board.relative_to(ROOT)})" in _read(README)
    assert "To repeat:" in _read(board)
    assert _read(board).splitlines()[2] == html.unescape(re.sub(r"<[^>]+>", "`", _verdict(_read(ROOT / report))))


def _verdict(page):
    (said,) = re.findall(r'<p class="verdict">(.*?)</p>', page, re.DOTALL)
    return " ".join(said.split())
