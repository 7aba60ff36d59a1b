"""Markdown: the one writer of tables, lists and blocks of commands. No text can become anything but text in it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from stbench.pages.tables import Emphasis, Strong, Table
from stbench.text import printable

_FENCE = "```"
_TICKS = re.compile("`+")
_ESCAPED = re.compile(r"\\[!-/:-@\[-`{-~]")  # a backslash before punctuation
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_LINK = re.compile(r"\](?=[(\[:])")
_BLOCK = re.compile(r"^(\s*)([#>])")


def table(content: Table) -> str:
    """A table; rows that are too short are filled up, and no cell can end its column or its row."""
    width = len(content.head)
    rule = ["---" if place in content.words else "---:" for place in range(width)]
    lines = [content.head, rule, *([*row, *[""] * (width - len(row))] for row in content.rows)]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    said = re.sub(r"(\\*)\|", r"\1\1\\|", _spans(text))
    return strong(said) if isinstance(text, Strong) else f"*{said}*" if isinstance(text, Emphasis) else said


def inline(text: str) -> str:
    """A text as one line in which no tag, link or heading is one; emphasis and what stands in backticks remain."""
    return _BLOCK.sub(r"\1\\\2", _spans(text))


def _spans(text: str) -> str:
    said, place, found = printable(text), 0, []
    while place < len(said):
        skip = _ESCAPED.match(said, place) or _TICKS.match(said, place)
        if skip is None:
            upto = min((at for mark in "\\`" if (at := said.find(mark, place + 1)) >= 0), default=len(said))
            found.append(_LINK.sub(r"]\\", _TAG.sub("&lt;", said[place:upto])))
        else:
            upto = _end_of_code(said, skip.group(), skip.end()) if skip.group()[0] == "`" else skip.end()
            found.append(said[place:upto])
        place = upto
    return "".join(found)


def _end_of_code(text: str, ticks: str, start: int) -> int:
    """Where a code span ends whose opening backticks end at ``start``; that place itself where none closes it."""
    return next((found.end() for found in _TICKS.finditer(text, start) if found.group() == ticks), start)


def strong(text: str) -> str:
    """Text that stands out."""
    return f"**{text}**"


def quoted(text: str) -> str:
    """Text as it is typed; the backticks around it are more than any inside."""
    ticks = "`" * (max((len(found) for found in _TICKS.findall(text)), default=0) + 1)
    return f"{ticks}{text}{ticks}" if len(ticks) == 1 else f"{ticks} {text} {ticks}"


def bullets(lines: Iterable[str]) -> str:
    """Lines as a list; one that holds line ends remains one."""
    return "\n".join(f"- {inline(line)}" for line in lines)


def code(lines: Iterable[str]) -> str:
    """Lines as they are typed; the fence is longer than any inside."""
    text = "\n".join(printable(line, keep="\n") for line in lines)
    longest = max((len(found) for found in re.findall("`+", text)), default=0)
    fence = "`" * max(len(_FENCE), longest + 1)
    return f"{fence}\n{text}\n{fence}"
