"""Where the vectors of a gene prior come from: the model that made them and the hash of its weights."""

from __future__ import annotations

from pathlib import Path

from stbench.files import sha256_of
from stbench.priors.extract import ABOUT
from stbench.priors.table import FILE
from stbench.reading import read_json

WEIGHTS_HASH = "weights_sha256"  # in prior.json
TABLE = "table"


def origin_of_prior(spec: str) -> tuple[str, str | None] | None:
    """Name and sha256 of the weights behind a prior.

    Args:
        spec: as of :func:`stbench.priors.build_prior`.

    Returns:
        None for priors without pretrained weights. For vectors of ``stbench prior`` the model and the hash of its
        checkpoint; for anything else from a file ``table`` and the hash of that file. The hash is None where it is not
        known, as for folders made before it was kept.
    """
    if not spec.startswith(FILE):
        return None
    path = Path(spec.removeprefix(FILE).partition("?")[0])
    try:
        if not path.is_dir():
            return TABLE, sha256_of(path)
        said = read_json(path / ABOUT)
        return str(said["model"]), said.get(WEIGHTS_HASH)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return TABLE, None
