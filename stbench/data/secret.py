"""The secret seed of a generated cohort: nobody without it can make again what was drawn at random."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, PrivateAttr

from stbench.errors import SettingError
from stbench.files import remove

_SEED = re.compile(r"[0-9a-f]{64}")
_BYTES = 32
_MOST_READ = 1024
_HINT = "give the file of the board, or to stbench run a name that is not there yet, and a seed is made"


@dataclass(frozen=True)
class Secret:
    """A secret seed; never printed, and no part of what its owner hands to another process.

    Args:
        seed: 32 random bytes as 64 hexadecimal digits in lower case.
    """

    seed: str = field(repr=False)

    @staticmethod
    def is_seed(text: str) -> bool:
        """Whether a text is 64 hexadecimal digits in lower case."""
        return _SEED.fullmatch(text) is not None

    @property
    def sha256(self) -> str:
        """SHA-256 of the 64 digits, in hexadecimal: what may be known of the seed before it is published."""
        return hashlib.sha256(self.seed.encode()).hexdigest()

    def derived(self, *words: object) -> Secret:
        """HMAC-SHA-256 of some words under the seed: another seed, from which nothing of this one follows."""
        return Secret(hmac.new(bytes.fromhex(self.seed), json.dumps(words).encode(), hashlib.sha256).hexdigest())

    def stream(self, *words: object) -> np.random.Generator:
        """Random numbers for one purpose, which say nothing of those for another."""
        return np.random.default_rng(int(self.derived(*words).seed, 16))


class GeneratedSettings(BaseModel):
    """Settings of a generated cohort, keyed by a secret seed where one is given. The seed is in no dump of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    _secret: Secret | None = PrivateAttr(default=None)

    @property
    def secret(self) -> Secret | None:
        """What everything random is keyed by; None where the public seed is."""
        return self._secret

    def keyed(self, secret: Secret) -> Self:
        """The same settings keyed by a secret seed."""
        other = self.model_copy()
        other._secret = secret
        return other

    def hashed(self, version: int) -> str:
        """Sixteen hexadecimal digits that change with any setting, the version of a generator and the secret seed."""
        secret = "" if self._secret is None else f" {self._secret.sha256}"
        return hashlib.sha256(f"{version} {self.model_dump_json()}{secret}".encode()).hexdigest()[:16]

    def _drawn(self, public: list[int], *words: object) -> np.random.Generator:
        """Random numbers from the secret seed, the settings and some words; without a secret seed from public ones."""
        if self._secret is None:
            return np.random.default_rng(public)
        return self._secret.stream(self.model_dump_json(), *words)


def said_of(secret: Secret | None) -> str:
    """How a cohort was keyed, for what is told about it; empty without a secret seed."""
    return "" if secret is None else f"secret seed of SHA-256 {secret.sha256}"


def read_secret(path: Path, option: str = "--secret") -> Secret:
    """The seed in a file, named with an option.

    Raises:
        SettingError: the file cannot be read, or holds anything but 64 hexadecimal digits; says nothing of its content.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_READ).decode("ascii", errors="replace").strip().lower()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingError(f"{option}: expected a file with a seed at {path}, found: {reason}; {_HINT}") from error
    if not Secret.is_seed(text):
        found = f"{len(text)} of them" if re.fullmatch(r"[0-9a-f]*", text) else "other characters"
        raise SettingError(f"{option}: expected {2 * _BYTES} hexadecimal digits in {path}, found {found}; {_HINT}")
    return Secret(text)


def open_secret(path: Path) -> tuple[Secret, bool]:
    """The seed in a file that methods do not work beside; made, for nobody but its owner to read, if it is not there.

    Returns:
        The seed, and whether it was made just now.

    Raises:
        SettingError: the file is no seed, cannot be read or written, or lies in or below the current folder.
    """
    here = Path.cwd()
    if path.resolve().is_relative_to(here):
        raise SettingError(
            f"--secret: expected a file outside {here}, where methods work and which may be shared, found {path}; keep "
            "it in a folder of its own"
        )
    if os.path.lexists(path):
        return read_secret(path), False
    secret = Secret(secrets.token_hex(_BYTES))
    try:
        _make(path, secret)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingError(
            f"--secret: expected to write a seed to {path}, found: {reason}; choose another place"
        ) from error
    return read_secret(path), True


def check_secret(secret: Secret | None, sha256: str) -> Secret:
    """A seed, if it is the one of a SHA-256; else raises SettingError."""
    if secret is None or secret.sha256 != sha256:
        found = "none" if secret is None else secret.sha256
        raise SettingError(f"expected the secret seed of SHA-256 {sha256}, found {found}; give its file with --secret")
    return secret


def _make(path: Path, secret: Secret) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{secret.seed}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        remove(path)  # or the next command would find half a seed
        raise
