"""The manual as it is built: every page has a place, made pages are whole, outputs are those of the commands."""

import importlib
import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from stbench.catalogue import is_foreign, method_cards, paper_cards
from stbench.cli.main import app
from stbench.pages.marks import MEANINGS
from stbench.pages.method import settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BUILTIN = [name for name, card in method_cards().items() if not is_foreign(card)]
AROUND = {"L", "s", "±", "x", "-", "share", "[ ]"}
"""Signs of a table that are no marks of a row's standing."""


@pytest.fixture(scope="module")
def conf():
    """What docs/conf.py defines, as Sphinx reads it."""
    before = list(sys.path)
    yield runpy.run_path(str(DOCS / "conf.py"))
    sys.path[:] = before


@pytest.fixture(scope="module")
def made(conf):
    return conf["reference"].pages()


def _below(conf, page):
    """Files that the contents of a page name, patterns resolved; pages that are made are left out."""
    named = [name for _, names in conf["_BELOW"][page] for name in names if not name.startswith("reference/")]
    found = [[*(ROOT / page).parent.glob(f"{name}.md")] for name in named]
    assert all(found), named
    return {path for paths in found for path in paths}


def test_every_page_is_in_the_contents(conf):
    sections = conf["contents"]((DOCS / "README.md").read_text(encoding="utf-8"))
    listed = [page for _, pages in sections for page in pages]
    assert len(set(listed)) == len(listed)
    pages = {path.stem for path in DOCS.iterdir() if path.suffix in (".md", ".ipynb")} - {"README"}
    assert pages == {page for page in listed if not page.startswith("../")}
    boards = set((ROOT / "leaderboards").rglob("*.md"))
    reached = _below(conf, "leaderboards/README") | _below(conf, "leaderboards/sweeps/README")
    assert boards == reached | {ROOT / "leaderboards/README.md"}


@pytest.mark.parametrize("name", BUILTIN)
def test_the_page_of_a_method_says_what_its_card_says(made, name):
    card, page = method_cards()[name], made[f"methods/{name}"]
    assert page.startswith(f"# {name}\n")
    assert card.title in page
    assert all(f"\n| {row[0]} |" in page for row in settings(card).rows)
    differences = page.partition("## Where paper and released code differ")[2]
    assert [line.split(" | ")[0][2:] for line in differences.splitlines()[4:]] == [
        one.topic for one in card.differences
    ]


def test_links_to_cards_lead_to_made_pages(conf, made):
    text = (DOCS / "methods.md").read_text(encoding="utf-8") + (DOCS / "paper.md").read_text(encoding="utf-8")
    source = [text]
    conf["_complete"](None, "docs/methods", source)
    assert "../methods/" in text
    assert "(../methods/" not in source[0]
    led = set(re.findall(r"\(reference/(\S+)\.md\)", source[0]))
    assert {f"methods/{name}" for name, card in method_cards().items() if card.original} <= led
    assert {f"papers/{name}" for name in paper_cards()} <= led <= made.keys()


def test_the_page_of_commands_has_the_help_of_each(made):
    page = made["commands"]
    commands = typer.main.get_command(app).commands
    words = [(one, *more) for one in commands for more in ([(), *((name,) for name in _under(commands[one]))])]
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == [
        "stbench", *(" ".join(["stbench", *path]) for path in words)
    ]  # fmt: skip
    assert page.count("\nUsage: stbench") == len(words) + 1
    assert "--split-seed SPLIT_SEED" in page


def _under(command):
    return getattr(command, "commands", {})


def test_docstrings_are_of_what_is_there(conf):
    named = [place.partition(":") for modules in conf["reference"].API.values() for place in modules]
    for module, _, names in named:
        found = importlib.import_module(module)
        assert found.__doc__
        assert [name for name in names.split(",") if name and not hasattr(found, name)] == []


def test_every_mark_is_explained():
    text = (DOCS / "tables.md").read_text(encoding="utf-8")
    section = re.search(r"^## How to read one\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)[1]
    bold = {mark for words in re.findall(r"\*\*(.*?)\*\*", section) for mark in re.findall(r"`([^`]+)`|(±)", words)}
    said = {one or other for one, other in bold if len(one or other) <= 5}
    assert said == MEANINGS.keys() | AROUND


def test_commands_and_outputs_of_the_first_page_alternate():
    assert len(_shown()) >= 8


def _shown():
    """Every command of stbench on the first page, with what the page says that it prints."""
    text = (DOCS / "start.md").read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(stbench [^\n]*)\n```\n\n```text\n(.*?)\n```$", text, re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_first_page_shows_what_is_printed(tmp_path, monkeypatch):
    monkeypatch.setenv("STBENCH_CACHE", str(tmp_path / "cache"))
    for command, said in _shown():
        words = [sys.executable, "-m", *shlex.split(command)]
        ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        shown, printed = _lines(said), _lines(ended.stdout)
        first = next((place for place, line in enumerate(printed) if line[0] == shown[0][0]), None)
        assert first is not None, command
        for mine, theirs in zip(shown, printed[first:], strict=False):
            assert mine[0] == theirs[0]
            if not mine[0].startswith("estimate"):
                assert theirs[1] == pytest.approx(mine[1], abs=0.05, rel=0.1)
        assert len(printed) >= first + len(shown)


def _lines(text):
    """Lines without rules and padding: their words with # for numbers that are measured, and these numbers."""
    number = r"(?<![\w.-])-?\d+(?:\.\d+)?(?![\w.]*\w)"
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip("─ ")]
    return [(re.sub(number, "#", line), [float(one) for one in re.findall(number, line)]) for line in lines]


@pytest.mark.slow
def test_it_is_built_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="the extra docs is not installed: make docs")
    pytest.importorskip("myst_nb", reason="the extra docs is not installed: make docs")
    (said,) = re.findall(r"^\t\$\(BIN\)/python (-m sphinx .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    words = said.replace("build/doctrees", f"{tmp_path}/doctrees").replace("build/manual", f"{tmp_path}/manual")
    ended = subprocess.run([sys.executable, *words.split()], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    front = (tmp_path / "manual/docs/README.html").read_text(encoding="utf-8")
    assert all(f'href="{page}.html"' in front for page in ("start", "method", "reference/commands", "reference/api-0"))
    pages = [*(tmp_path / "manual").rglob("*.html")]
    assert [path for path in pages if re.search(r"(src|<link[^>]* href)=\"https?:", path.read_text("utf-8"))] == []


def test_notebooks_hold_outputs_and_are_small():
    for path in DOCS.glob("*.ipynb"):
        assert path.stat().st_size < 300_000
        cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
        assert sum(bool(cell["outputs"]) for cell in cells) >= len(cells) / 2
        assert all(output["output_type"] != "error" for cell in cells for output in cell["outputs"])
