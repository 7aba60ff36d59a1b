"""No file waits for the disk, as a cell of a grid does twenty times: only a loss of power could tell the difference.

A process that is killed loses nothing that it has written, synced or not: the system has it.
"""

import os


def _sync(handle: int) -> None:
    """In place of :func:`os.fsync`."""


os.fsync = _sync
