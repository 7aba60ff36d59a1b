"""Small helpers for what people read and type."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from stbench.errors import SettingError

_CONTROLS = (
    "\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069"  # of terminals, and of the order of letters
)
_UNPRINTABLE = re.compile(f"[{_CONTROLS}\\ud800-\\udfff]")
NAME = rf"^\.?[^{_CONTROLS}/\\.][^{_CONTROLS}/\\]*$"
"""Pattern of a name that may become part of a file name: one step of a path that leads neither up nor elsewhere."""
_PICKLED = re.compile(
    r"allow_pickle|weights_only|Weights only load|pickle\.load|Unpickl|persistent_load|objects in dtype", re.IGNORECASE
)

_LONGEST = 500  # characters of a message of foreign code
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|-")


def first_line(error: BaseException | str) -> str:
    """The first line of a message, the kind of an exception where its message is empty or cannot be printed.

    What libraries say of pickled objects is replaced: they advise to load them in a way that runs their code.
    """
    message = _message(error).strip()
    if isinstance(error, BaseException) and _PICKLED.search(message):
        return "damage, or pickled Python objects, which can run code and are never loaded"
    said = one_line(message.splitlines()[0]) if message else ""
    return (said if len(said) <= _LONGEST else f"{said[:_LONGEST]} ...") or type(error).__name__


def one_line(said: BaseException | str) -> str:
    """A whole message with every run of blanks and line ends as one blank, and escapes for what cannot be printed.

    Of an exception without a message its kind.
    """
    words = " ".join(_message(said).split())
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in words)
    return shown if shown or isinstance(said, str) else type(said).__name__


def named(error: BaseException, in_words: Callable[[BaseException], str] = first_line) -> str:
    """Kind of an exception of foreign code, and the first line of its message or what else ``in_words`` makes of it."""
    kind, said = type(error).__name__, in_words(error)
    return kind if said == kind else f"{kind}: {said}"


def _message(said: BaseException | str) -> str:
    try:
        return str(said)
    except BaseException:  # noqa: BLE001  a foreign exception may fail to print itself, in any way
        return ""


def printable(text: str, keep: str = "") -> str:
    """A text without characters that move a terminal's cursor, turn letters round or end a line.

    Args:
        text: anything.
        keep: characters that stay, such as a line end.

    Returns:
        The text with blanks for line ends and tabs, and codes such as ``\\x1b`` for the rest.
    """

    def code(found: re.Match[str]) -> str:
        char = found[0]
        return char if char in keep else " " if char.isspace() else ascii(char)[1:-1]

    return _UNPRINTABLE.sub(code, text)


def misnamed(name: str) -> str:
    """What is wrong with the name of a slide or a cohort, which becomes part of file names; empty where nothing is."""
    if re.fullmatch(NAME, name) and not _UNPRINTABLE.search(name):
        return ""
    return f"expected a name without slashes and control characters, found {name!r}; rename it"


def csv_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula; numbers stay numbers."""
    said = printable(text)
    return f"'{said}" if said.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(said.strip()) else said


def count(number: int, noun: str, nouns: str = "") -> str:
    """``1 slide``, ``2 slides``; ``nouns`` where an s alone does not do."""
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


def listed(values: Iterable[object], between: str = ", ") -> str:
    """Values one after the other."""
    return between.join(str(value) for value in values)


def few(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return listed(names[:most]) + more


def duration(seconds: float) -> str:
    """A duration as people say it: ``about 40 s``, ``about 4 min``, ``about 2.5 h``."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"


def pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """``key=value`` texts as a dictionary.

    Raises:
        SettingError: no ``=``, or a key given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise SettingError(f"{option}: expected key=value, found {text!r}")
        if key in found:
            raise SettingError(f"{option}: expected {key} once, found {found[key]!r} and {value!r}; leave one out")
        found[key] = value
    return found


def parse_names(text: str, option: str) -> tuple[str, ...]:
    """``flag,ridge`` as names; an empty text has none.

    Raises:
        SettingError: a name that comes twice.
    """
    return _once(option, tuple(part.strip() for part in text.split(",") if part.strip()))


def parse_numbers(option: str, text: str, least: int, why: str = "") -> tuple[int, ...]:
    """``10,50,200`` as ascending numbers.

    Raises:
        SettingError: none, no whole number, one that comes twice, or one below ``least``.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise SettingError(f"{option}: expected whole numbers such as 10,50,200, found {text!r}")
    numbers = sorted(int(part) for part in parts)
    if numbers[0] < least:
        raise SettingError(f"{option}: expected numbers from {least} up{why}, found {numbers[0]}")
    return tuple(int(part) for part in _once(option, tuple(str(number) for number in numbers)))


def _once(option: str, found: tuple[str, ...]) -> tuple[str, ...]:
    if twice := [value for value in found if found.count(value) > 1]:
        raise SettingError(f"{option}: expected {twice[0]} once, found it {found.count(twice[0])} times")
    return found
