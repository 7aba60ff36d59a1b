"""Markdown: the one writer of tables, lists and blocks of commands."""

from __future__ import annotations

import re
from collections.abc import Iterable

from stbench.pages.tables import Emphasis, Strong, Table
from stbench.text import one_line

_FENCE = "```"


def table(content: Table) -> str:
    """A table; rows that are too short are filled up, and no cell can end its column or its row."""
    width = len(content.head)
    rule = ["---" if place in content.words else "---:" for place in range(width)]
    lines = [content.head, rule, *([*row, *[""] * (width - len(row))] for row in content.rows)]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    said = (one_line(text) if "\n" in text else text).replace("|", "\\|")
    return strong(said) if isinstance(text, Strong) else f"*{said}*" if isinstance(text, Emphasis) else said


def strong(text: str) -> str:
    """Text that stands out."""
    return f"**{text}**"


def quoted(text: str) -> str:
    """Text as it is typed."""
    return f"`{text}`"


def bullets(lines: Iterable[str]) -> str:
    """Lines as a list; one that holds line ends remains one."""
    return "\n".join(f"- {one_line(line) if chr(10) in line else line}" for line in lines)


def code(lines: Iterable[str]) -> str:
    """Lines as they are typed; the fence is longer than any inside."""
    text = "\n".join(lines)
    longest = max((len(found) for found in re.findall("`+", text)), default=0)
    fence = "`" * max(len(_FENCE), longest + 1)
    return f"{fence}\n{text}\n{fence}"
