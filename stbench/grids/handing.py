"""Handing a job to a worker: arrays that lie in files without a name go as open files, everything else as bytes."""

from __future__ import annotations

import io
import pickle
import socket
from multiprocessing.connection import Connection
from multiprocessing.reduction import recvfds, sendfds
from typing import Any

from stbench.evaluation.worker import Job
from stbench.features.mapped import MappedArrays


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.handles: list[int] = []

    def persistent_id(self, thing: Any) -> tuple[int, Any] | None:
        if not isinstance(thing, MappedArrays):
            return None
        self.handles.append(thing.handle)
        return len(self.handles) - 1, thing.layout


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, handles: list[int]) -> None:
        super().__init__(file)
        self._handles = handles

    def persistent_load(self, said: tuple[int, Any]) -> MappedArrays:
        place, layout = said
        return MappedArrays.opened(self._handles[place], layout)


def hand_over(pipe: Connection, job: Job) -> None:
    """Send a job; raises OSError where nobody is at the other end."""
    file = io.BytesIO()
    packer = _Packer(file)
    packer.dump(job)
    pipe.send(len(packer.handles))
    pipe.send_bytes(file.getvalue())
    with socket.fromfd(pipe.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as lane:
        for handle in packer.handles:
            sendfds(lane, [handle])


def take_over(pipe: Connection) -> Job | None:
    """Receive a job, None where there is none any more; raises EOFError or OSError where the other end is gone."""
    n_handles = pipe.recv()
    if n_handles is None:
        return None
    content = pipe.recv_bytes()
    with socket.fromfd(pipe.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as lane:
        handles = [recvfds(lane, 1)[0] for _ in range(n_handles)]
    job: Job = _Unpacker(io.BytesIO(content), handles).load()
    return job
