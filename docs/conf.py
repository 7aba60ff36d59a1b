"""The manual: ``sphinx-build -c docs . OUT``. Pages lie as in the repository, so that links hold in both."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import reference  # noqa: E402

from stbench import __version__  # noqa: E402

project, version, release = "stbench", __version__, __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/README"
include_patterns = [
    *("docs/*.md", "docs/*.ipynb", "docs/reference/**.md"),
    *("leaderboards/**.md", "benchmarks/*.md", "CONTRIBUTING.md", "CHANGELOG.md"),
]
exclude_patterns = [".*", "data", "runs", "stbench", "tests"]

html_theme = "furo"
html_title = f"stbench {__version__}"
html_show_sphinx = html_copy_source = html_show_sourcelink = False
pygments_dark_style = "monokai"
highlight_language = "none"

myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # boards begin at their second level
nb_execution_mode = "off"
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "model_config"}
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("ArrayLike", "FloatArray")}
nitpicky = True
nitpick_ignore = [("py:class", "stbench.catalogue.cards.MethodCard")]  # a page of its own shows its fields
nitpick_ignore_regex = [("py:.*", r"(?!stbench).*")]  # other projects are not looked up: nothing is downloaded

_BELOW = {
    "docs/methods": [("", ["reference/methods/*"])],
    "docs/paper": [("", ["reference/papers/*"])],
    "leaderboards/README": [("", ["*-g*", "curse/*", "sweeps/README"])],
    "leaderboards/sweeps/README": [("", ["*-genes-*"])],
}
_REFERENCE = ("Reference", ["reference/commands", "reference/metrics", "reference/cards", "reference/api-*"])
_PROJECT = ("Project", ["/CONTRIBUTING", "/CHANGELOG"])


def contents(text):
    """Headings of the front page and the pages that the tables below them name, in order."""
    sections = re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", text, re.MULTILINE)
    found = [(title, re.findall(r"^\| \[[^]]*\]\(([^)#]+)\)", body, re.MULTILINE)) for title, body in sections]
    return [(title, [re.sub(r"\.(md|ipynb)$", "", page) for page in pages]) for title, pages in found if pages]


def _toctree(caption, pages):
    options = [":hidden:", ":glob:", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["", "", "```{toctree}", *options, "", *pages, "```", ""])


def _complete(app, page, source):
    """Add the contents that the site shows beside a page, and lead links to cards to the pages made from them."""
    front = page == root_doc
    below = [*contents(source[0]), _REFERENCE, _PROJECT] if front else _BELOW.get(page, [])
    text = re.sub(r"\(\.\./(methods|papers)/([a-z0-9.-]+)\.toml\)", r"(reference/\1/\2.md)", source[0])
    source[0] = text + "".join(_toctree(*one) for one in below)


def _name_aliases(app, what, name, obj, options, signature, returns):
    """Sphinx prints its own wrapper where an alias is part of a union."""
    return tuple(text and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text) for text in (signature, returns))


def _make_pages(app, config):
    reference.write(HERE / "reference")


def _lead_to_the_front(app, error):
    target = Path(app.outdir) / "index.html"
    target.write_text(f'<meta http-equiv="refresh" content="0; url={root_doc}.html">', encoding="utf-8")


def setup(app):
    """Called by Sphinx."""
    app.connect("config-inited", _make_pages)
    app.connect("source-read", _complete)
    app.connect("autodoc-process-signature", _name_aliases)
    app.connect("build-finished", _lead_to_the_front)
