"""Exceptions of stbench.

Which one is which::

    Exception
    └── StbenchError            anything stbench raises on purpose
        ├── UserError           one line for the user, exit code 2
        │   ├── UnknownNameError    a name that is not registered; lists the nearest ones
        │   ├── DataError           a file or a slide is not what its format promises
        │   └── SettingError        a setting has the wrong name, type or range
        └── RunFailedError      a method failed on a task; recorded as a failed row
"""

import difflib
from collections.abc import Iterable


class StbenchError(Exception):
    """Base class of everything stbench raises on purpose."""


class UserError(StbenchError):
    """A mistake the user can mend: the message is one line that says expected, found, where and what next."""


class DataError(UserError):
    """A file, slide or cohort does not hold what its format promises."""


class SettingError(UserError):
    """A setting has an unknown name, a wrong type or a value out of range."""


class UnknownNameError(UserError):
    """A name that nothing is registered under.

    Args:
        kind: what was looked for, e.g. ``"method"``.
        name: what the user typed.
        known: every registered name.
        hint: what to do next, appended to the message.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        nearest = f"did you mean {', '.join(near)}? " if near else ""
        super().__init__(f"unknown {kind} {name!r}: {nearest}known: {', '.join(names)}{'; ' + hint if hint else ''}")
        self.name = name
        self.nearest = near


class RunFailedError(StbenchError):
    """A method could not finish on a task; the leaderboard prints the reason."""
