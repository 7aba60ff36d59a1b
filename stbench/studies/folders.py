"""The grid that a folder holds, whichever command made it: for cells on their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stbench.data.secret import check_secret, read_secret
from stbench.errors import UserError
from stbench.evaluation.plan import plan
from stbench.evaluation.request import Request
from stbench.grids.manifest import Manifest, read_manifest
from stbench.grids.plan import GridPlan, Work, open_work, run_grid
from stbench.reporting import SILENT, Reporter
from stbench.studies.ablation.manifest import AblationManifest
from stbench.studies.ablation.plan import plan_ablation
from stbench.studies.ablation.request import AblateRequest
from stbench.studies.sweep.grid import SweepManifest, plan_sweep
from stbench.studies.sweep.request import SweepRequest
from stbench.studies.tuning.manifest import TuningManifest
from stbench.studies.tuning.plan import plan_tuning
from stbench.studies.tuning.request import TuneRequest

KINDS: tuple[type[Manifest], ...] = (Manifest, SweepManifest, AblationManifest, TuningManifest)


def grid_in(out: Path, cache_dir: Path, asked: Request | None = None, reporter: Reporter = SILENT) -> GridPlan:
    """Everything that a folder was ever asked to hold, planned again.

    Args:
        out: folder that ``--prepare``, or a command that ran, has written the settings of.
        cache_dir: folder of the caches.
        asked: gives another data root or device where it differs from the defaults, and the file of a secret seed.
        reporter: where progress goes.

    Raises:
        UserError: the folder holds no grid, or what it names is not there any more.
    """
    found = next((manifest for kind in KINDS if (manifest := read_manifest(out, kind)) is not None), None)
    if found is None:
        raise UserError(f"expected a folder that stbench run --prepare wrote at {out}, found none; give its --out")
    request = _placed(found.whole_request(), asked)
    if found.secret is not None:
        check_secret(None if request.secret is None else read_secret(request.secret), found.secret)
    if isinstance(request, SweepRequest):
        return plan_sweep(request, cache_dir, reporter)
    if isinstance(request, AblateRequest):
        return plan_ablation(request, cache_dir, reporter)
    if isinstance(request, TuneRequest):
        return plan_tuning(request, out, cache_dir, reporter)
    return run_grid(plan(request, cache_dir, reporter))


def _placed(request: Request, asked: Request | None) -> Request:
    """A request with the places that the caller names in place of those it was written with."""
    if asked is None:
        return request
    places = {name: getattr(asked, name) for name, one in Request.options().items() if one.role == "place"}
    return replace(request, **{name: value for name, value in places.items() if value != Request.usual(name)})


def work_in(out: Path, cache_dir: Path, asked: Request | None = None) -> tuple[GridPlan, Work]:
    """A folder's grid and its cells, numbered the same whoever asks; arguments are those of :func:`grid_in`."""
    grid = grid_in(out, cache_dir, asked)
    return grid, open_work(grid, out)
