"""Files of a public GitHub repository at one commit, for cohorts whose study published them there."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stbench.data.fetch.plan import RemoteFile, Source
from stbench.errors import DataError, UserError
from stbench.reporting import Reporter

_TIMEOUT_S = 30
_BLOCK = 2**20
_WANTED = re.compile(
    r"data/(ST-cnts/(?P<a>\w+)\.tsv(\.gz)?|ST-spotfiles/(?P<b>\w+)_selection\.tsv|ST-imgs/\w/(?P<c>\w+)/[^/]+\.jpe?g)$",
    re.IGNORECASE,
)


class GithubSource(Source):
    """The repository of the HER2ST study, or another in its layout.

    Args:
        repository: owner and name.
        commit: full hash, so that everybody gets the same files.
        listing: address of the commit's file list, the public one when None.
        content: address of the commit's files, the public one when None.
    """

    def __init__(self, repository: str, commit: str, listing: str | None = None, content: str | None = None) -> None:
        self.name = f"github.com/{repository}"
        self.terms = "public; cite the study, see: stbench datasets show"
        self.listing = listing or f"https://api.github.com/repos/{repository}/git/trees/{commit}?recursive=1"
        self.content = content or f"https://raw.githubusercontent.com/{repository}/{commit}"

    def files(self, slides: Sequence[str], *, images: bool) -> list[RemoteFile]:
        """Counts, spot table and picture of each slide; ``images`` changes nothing, as no patches are published."""
        try:
            tree: list[dict[str, Any]] = json.loads(self._open(self.listing).read())["tree"]
            blobs = [RemoteFile(str(b["path"]), int(b["size"]), str(b["sha"])) for b in tree if b["type"] == "blob"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.name}: expected a list of files, found: {error!r}; try again later") from error
        wanted = set(slides)
        return [file for file in blobs if (match := _WANTED.match(file.path)) and set(match.groups()) & wanted]

    def get(self, file: RemoteFile, folder: Path, reporter: Reporter) -> None:
        path = folder / file.path
        part = path.with_name(f"{path.name}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        start = part.stat().st_size if part.is_file() else 0
        if start > file.size:
            start = 0
        if start < file.size:
            self._transfer(file, part, start)
        if _blob_digest(part) != file.digest:
            part.unlink()
            raise DataError(f"{self.name}: {file.path} came damaged and was removed; repeat the command")
        part.replace(path)

    def _transfer(self, file: RemoteFile, part: Path, start: int) -> None:
        address = f"{self.content}/{urllib.parse.quote(file.path)}"
        with self._open(address, start) as answer:
            resumed = start > 0 and answer.status == 206
            with part.open("ab" if resumed else "wb") as stream:
                while block := self._read(answer, file):
                    stream.write(block)
        if part.stat().st_size != file.size:
            raise UserError(self._broken(file))

    def _read(self, answer: Any, file: RemoteFile) -> bytes:
        try:
            block: bytes = answer.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:  # of the network, unlike those of writing
            raise UserError(self._broken(file)) from error
        return block

    def _broken(self, file: RemoteFile) -> str:
        return f"{self.name}: the transfer of {file.path} broke off; repeat the command, it goes on there"

    def _open(self, address: str, start: int = 0) -> Any:
        request = urllib.request.Request(address, headers={"User-Agent": "stbench"})
        if start:
            request.add_header("Range", f"bytes={start}-")
        try:
            return urllib.request.urlopen(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            raise UserError(f"{self.name}: {address} answered {error.code}; try again later") from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise UserError(f"{self.name}: no network ({reason}); go online, or copy the repository there") from error


def _blob_digest(path: Path) -> str:
    """git's hash of a file's content."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
