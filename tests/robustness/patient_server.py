"""Loaded first by the process that the workers of all tries come from: it outlives a client killed while it asks.

Python's own server ends with one; a command has a server to itself, tries share one.
"""

import errno
from multiprocessing import reduction

_recvfds = reduction.recvfds


def _recvfds_or_aborted(sock, size):
    try:
        return _recvfds(sock, size)
    except EOFError as error:
        raise OSError(errno.ECONNABORTED, "the client is gone") from error  # which the server passes over


reduction.recvfds = _recvfds_or_aborted
