"""Text as HTML: whatever a record says stays text; the only markup is that of our templates."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from stbench.pages.marks import MEANINGS
from stbench.text import printable

_CODE = re.compile(r"(`+) ?(.+?) ?\1(?!`)")
_EMPHASIS = re.compile(r"^\*(\w+)\*")
_MARKED = re.compile(rf"(.*\S) ([{re.escape(''.join(MEANINGS))}]+)")
_JSON = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@cache
def environment() -> Environment:
    """Templates with autoescape; a name that a template misspells is an error."""
    made = Environment(
        loader=PackageLoader("stbench.pages.report"), autoescape=True, undefined=StrictUndefined, finalize=_finalize,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"prose": prose, "bare": bare, "embed": embed, "marked": marked, "spread": spread}
    made.globals |= {"source": source, "hash_of": hash_of, "meanings": MEANINGS}
    return made


def _finalize(value: Any) -> Any:
    return printable(value, keep="\n") if isinstance(value, str) and not isinstance(value, Markup) else value


def prose(text: str) -> Markup:
    """A sentence of our wording: what stands in backticks as code, a first word between stars set apart."""
    said, found, place = printable(text), Markup(), 0
    if word := _EMPHASIS.match(said):
        found, place = Markup("<em>{}</em>").format(word[1]), word.end()
    for code in _CODE.finditer(said, place):
        found += escape(said[place : code.start()]) + Markup("<code>{}</code>").format(code[2])
        place = code.end()
    return found + escape(said[place:])


def bare(text: str) -> str:
    """A sentence of our wording without its backticks, where only text may stand."""
    return text.replace("`", "")


def marked(cell: str) -> tuple[str, str]:
    """A cell of a ranking as its text and the marks behind it."""
    found = _MARKED.fullmatch(cell)
    return (found[1], found[2]) if found else (str(cell), "")


def spread(cell: str) -> tuple[str, str]:
    """A number as its mean and what follows it: interval, spread over seeds and draws."""
    mean, _, rest = cell.partition(" ")
    return mean, rest


def embed(data: Any) -> Markup:
    """JSON for a ``<script type="application/json">``, which nothing inside can end."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return Markup(re.sub(r"[<>&\u2028\u2029]", lambda found: _JSON[found[0]], text).encode("utf-8", "replace").decode())


@cache
def source(name: str) -> Markup:
    """A style sheet or script of this package, to stand in the page."""
    return Markup(files("stbench.pages.report").joinpath("templates", name).read_text(encoding="utf-8"))


def hash_of(text: str) -> str:
    """What a content security policy allows a script by."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
