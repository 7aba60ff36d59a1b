"""HEST-1k and other gated data sets on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from stbench.data.fetch.plan import RemoteFile, Source
from stbench.errors import UserError
from stbench.reporting import Reporter

T = TypeVar("T")
_ASKED_AT_ONCE = 500


class HubSource(Source):
    """A data set repository in HEST-1k's layout.

    huggingface_hub does the transfer: it resumes, verifies and renames only what is whole.

    Args:
        repository: owner and name on the hub.
        layout_hint: what to put where by hand, for messages.
    """

    def __init__(self, repository: str, layout_hint: str) -> None:
        self.repository, self.layout_hint = repository, layout_hint
        self.name = f"huggingface.co/datasets/{repository}"
        self.terms = f"gated data set; its terms are those of https://huggingface.co/datasets/{repository}"

    def files(self, slides: Sequence[str], *, images: bool) -> list[RemoteFile]:
        picture = ("wsis", "tif") if images else ("patches", "h5")
        paths = [
            f"{folder}/{slide}.{ending}"
            for slide in slides
            for folder, ending in (("st", "h5ad"), ("metadata", "json"), picture)
        ]
        found = {file.path: file for file in self._asked(paths)}
        absent = [path for path in paths if path not in found]
        if absent:
            raise UserError(
                f"{self.name}: expected {len(paths)} files, found no {absent[0]} ({len(absent)} in all); "
                "check the ids with: stbench datasets show NAME"
            )
        return [found[path] for path in paths]

    def _asked(self, paths: list[str]) -> list[RemoteFile]:
        from huggingface_hub import HfApi

        api = HfApi()
        found: list[RemoteFile] = []
        for start in range(0, len(paths), _ASKED_AT_ONCE):
            ask = partial(
                api.get_paths_info, self.repository, paths[start : start + _ASKED_AT_ONCE], repo_type="dataset"
            )
            found += [RemoteFile(info.path, int(info.size)) for info in self._told_apart(ask) if hasattr(info, "size")]
        return found

    def get(self, file: RemoteFile, folder: Path, reporter: Reporter) -> None:
        from huggingface_hub import hf_hub_download

        def transfer() -> Any:
            return hf_hub_download(self.repository, file.path, repo_type="dataset", local_dir=folder)

        self._told_apart(transfer)

    def _told_apart(self, action: Callable[[], T]) -> T:
        """Run an action on the hub; every way it refuses has a line of its own."""
        from huggingface_hub import errors, get_token

        try:
            return action()
        except errors.OfflineModeIsEnabled as error:
            raise UserError(f"{self.name}: HF_HUB_OFFLINE is set; unset it, or {self.layout_hint}") from error
        except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
            raise UserError(self._refused(get_token() is not None)) from error
        except errors.HfHubHTTPError as error:
            raise UserError(self._status(error, get_token() is not None)) from error
        except errors.LocalEntryNotFoundError as error:  # what a failed request for a file's facts becomes
            raise UserError(self._unreachable(error.__cause__ or error)) from error
        except Exception as error:  # the hub's HTTP library has classes of its own for a missing network
            if isinstance(error, OSError) and error.errno is not None:
                raise
            if not _is_network(error):
                raise
            raise UserError(self._unreachable(error)) from error

    def _refused(self, has_token: bool) -> str:
        if not has_token:
            return (
                f"{self.name}: expected a token, found none; create one at https://huggingface.co/settings/tokens, "
                "then: hf auth login (or set HF_TOKEN)"
            )
        return (
            f"{self.name}: the token is there, but the terms of the data set were not accepted with its account; "
            f"accept them at https://{self.name}, then repeat the command"
        )

    def _status(self, error: Any, has_token: bool) -> str:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            return self._refused(has_token and status == 403)
        return f"{self.name}: the hub answered {status or 'with an error'}; try again later, or {self.layout_hint}"

    def _unreachable(self, error: BaseException) -> str:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        return f"{self.name}: no network ({reason}); go online, or {self.layout_hint}"


def _is_network(error: BaseException) -> bool:
    named = type(error).__module__.partition(".")[0]
    return named in ("httpx", "httpx2", "httpcore", "requests", "urllib3") or isinstance(error, ConnectionError)
