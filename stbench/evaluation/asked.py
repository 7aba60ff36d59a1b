"""What a request says of data, split and device, opened and checked."""

from __future__ import annotations

import sys
from pathlib import Path

from stbench.catalogue import DatasetCard
from stbench.data.cohort import Cohort
from stbench.data.crossing import check_rule, crossed
from stbench.data.opening import check_generated, find_card, open_dataset
from stbench.data.secret import Secret, open_secret
from stbench.data.splits import PROTOCOLS, is_protocol, is_rule_of_folds
from stbench.errors import SettingError, UnknownNameError
from stbench.evaluation.request import NO_VALIDATION, VALIDATIONS, Request
from stbench.evaluation.task import TaskSettings
from stbench.features.encoders import needs_pictures
from stbench.reporting import SILENT, Reporter

# of NVIDIA, of Windows below, of AMD
_DRIVERS = ("/dev/nvidiactl", "/proc/driver/nvidia", "/dev/nvhost-gpu", "/dev/dxg", "/dev/kfd")


def open_asked(
    request: Request, cache_dir: Path, reporter: Reporter = SILENT, *, require_image: bool | None = None
) -> tuple[Cohort, DatasetCard]:
    """The cohort a request names, and its card.

    Args:
        request: dataset, where it lies and how it is generated.
        cache_dir: where generated slides are kept.
        reporter: is told of slides that are made.
        require_image: leave out slides without a picture; None: if the encoder needs pictures.

    Raises:
        UserError: no such cohort, or its data are not there.
    """
    pictured = needs_pictures(request.encoder) if require_image is None else require_image
    secret = None if request.secret is None else _secret(request, request.secret, reporter)
    name, root = request.dataset, request.data_root
    cohort, card = open_dataset(
        name, root, request.simulate, cache_dir, reporter, require_image=pictured, secret=secret,
        patients=request.patients, genes_table=request.genes_table,
    )  # fmt: skip
    tests = request.test_dataset
    places = root, cache_dir, reporter
    joined = crossed(
        cohort, card, name, tests, *places, require_image=pictured, genes_table=request.genes_table
    )  # fmt: skip
    return joined, card


def _secret(request: Request, path: Path, reporter: Reporter) -> Secret:
    """The seed in a file, which is made if it is not there."""
    check_generated(find_card(request.dataset), request.dataset, "--secret")
    secret, made = open_secret(path)
    if made:
        reporter.info(f"a secret seed was made, its SHA-256 is {secret.sha256}; keep {path} until the board is closed")
    return secret


def check_split(request: Request) -> None:
    """Raise UserError for what says nothing of who trains, validates and tests."""
    split = request.split
    if request.validation_rule not in VALIDATIONS:
        raise UnknownNameError("--validation", request.validation_rule, VALIDATIONS)
    if request.test_dataset is not None:
        check_rule(split)
    if not is_rule_of_folds(split) and not is_protocol(split) and not Path(split).is_file():
        raise UnknownNameError("split", split, PROTOCOLS, hint="or give a JSON file; there is none of this name")


def split_settings(request: Request) -> TaskSettings:
    """What a request says of who trains, validates and tests, with its first panel size."""
    validates = request.validation_rule != NO_VALIDATION
    return TaskSettings(
        request.genes[0],
        split=request.split,
        seed=request.split_seed,
        validates=validates,
        gene_sets=request.gene_sets,
    )


def choose_device(asked: str) -> str:
    """``auto`` takes the GPU if there is one.

    Raises:
        SettingError: an unknown device, or ``cuda`` where there is none.
    """
    if asked == "cpu" or (asked == "auto" and not _has_driver()):
        return "cpu"
    if asked not in ("auto", "cuda"):
        raise UnknownNameError("device", asked, ("auto", "cpu", "cuda"))
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not torch.cuda.is_available():
        raise SettingError("--device cuda: expected a CUDA device, found none; use --device auto or cpu")
    return asked


def _has_driver() -> bool:
    """Whether there may be a GPU: where a Linux has no driver of one, that is known without loading torch."""
    return not sys.platform.startswith("linux") or any(Path(device).exists() for device in _DRIVERS)
