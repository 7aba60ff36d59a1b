"""The code behind a method that is not of this repository: a file may change under a folder of runs."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from stbench.catalogue.cards import MethodCard


class Coded(BaseModel):
    """What knows the code of a method; files hold it of third-party methods alone, as those of before it was kept."""

    code: str | None = Field(default=None, description="code_of the method")

    @model_serializer(mode="wrap")
    def _lean(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        said: dict[str, Any] = handler(self)
        return {name: value for name, value in said.items() if name != "code" or value is not None}


def code_of(card: MethodCard) -> str | None:
    """SHA-256 of the source file that a third-party method's class lies in.

    Files that it imports are not looked at.

    Args:
        card: a method given as ``path/to/file.py:Class`` or by an installed package.

    Returns:
        64 hexadecimal digits; None for methods of this repository, and where there is no file of source.
    """
    where = card.entry.rpartition(":")[0]
    if where.partition(".")[0] == "stbench":
        return None
    path = Path(where) if where.endswith(".py") else _source(where)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path is not None and path.is_file() else None


def _source(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


def changed_code(method: str, found: str | None, asked: str | None) -> list[str]:
    """That the code of a method is another than the one a folder was begun with, in words.

    Folders of before codes were kept know none: nothing is said of them.

    Args:
        method: its name.
        found: :func:`code_of` of then.
        asked: of now.
    """
    if None in (found, asked) or found == asked:
        return []
    return [f"the code of {method} changed since this folder was begun: {str(found)[:8]} -> {str(asked)[:8]}"]
