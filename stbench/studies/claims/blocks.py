"""From a table to ordinary grids: the runs, sweep or ablation whose numbers stand beside the paper's."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stbench.catalogue.papers import Claim, PaperAblation, ReportedTable
from stbench.errors import SettingError, UnknownNameError, UserError
from stbench.evaluation.plan import plan
from stbench.evaluation.request import Request
from stbench.features.encoders import load_encoder
from stbench.grids.manifest import MANIFESTS
from stbench.grids.plan import GridPlan, open_work, run_grid
from stbench.priors.models import MODELS
from stbench.reporting import SILENT, Reporter
from stbench.studies.ablation.plan import plan_ablation
from stbench.studies.ablation.request import AblateRequest
from stbench.studies.claims.data import lacking
from stbench.studies.claims.request import ClaimsRequest
from stbench.studies.claims.tables import TRUTH, AnyTable, asked_of, by_encoder, measure_of
from stbench.studies.sweep.grid import plan_sweep
from stbench.studies.sweep.request import SweepRequest
from stbench.text import listed, pairs

_SCALE = "log1p"  # where a table says none
_PASSED = ("seeds", "preset", "overrides", "split_seed", "draws", "draws_kept", "patch", "data_root", "device")
_DATASET = "{dataset}"


@dataclass(frozen=True)
class Block:
    """One grid behind a table.

    Args:
        table: the table.
        claims: those whose numbers it gives.
        request: what is run.
        missing: files that would make it the reported experiment, and how to give them.
        problem: why it cannot be run at all, empty where it can.
        grid: the grid, None where it cannot be run.
    """

    table: AnyTable
    claims: tuple[Claim, ...]
    request: Request
    missing: tuple[str, ...] = ()
    problem: str = ""
    grid: GridPlan | None = None

    @property
    def title(self) -> str:
        """Table, cohort, encoder where rows are told apart by it, and methods."""
        methods = dict.fromkeys(claim.method for claim in self.claims)
        encoders = {claim.encoder for claim in self.claims} if by_encoder(self.table) else set()
        place = [f"table {self.table.table}", self.claims[0].dataset, *(encoders if len(encoders) == 1 else ())]
        return f"{listed(place)}: {listed(methods)}"

    def folder(self, out: Path) -> Path:
        """Where its cells lie; runs of one cohort and panel that several tables need lie in one place."""
        assert self.grid is not None
        return out / self.grid.manifest.name


def check_place(out: Path, blocks: Sequence[Block] = ()) -> None:
    """Refuse a folder that is the place of something else.

    Args:
        out: the folder.
        blocks: what is to lie below it.

    Raises:
        UserError: it is a file, holds a grid itself, or holds one with other settings where a block's would lie.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"expected a folder for the claims at {out}, found a file; choose another --out")
    if held := next((name for name in MANIFESTS if (out / name).is_file()), ""):
        raise UserError(
            f"expected a folder of stbench claims or an empty one at {out}, found {held}; choose another --out"
        )
    for block in blocks:
        if block.grid is not None:
            open_work(block.grid, block.folder(out))


def blocks_of(table: AnyTable, asked: ClaimsRequest, cache_dir: Path, reporter: Reporter = SILENT) -> list[Block]:
    """The grids of a table, planned as far as what is there allows.

    Raises:
        SettingError: ``--weights`` or ``--prior`` name no file.
    """
    groups: dict[tuple[str, ...], list[Claim]] = {}
    for claim in asked_of(table, asked):
        scale = measure_of(table, claim).scale or table.conditions.scale or _SCALE
        groups.setdefault((claim.dataset, asked.encoder or claim.encoder, scale), []).append(claim)
    blocks = [_block(table, claims, key[2], asked) for key, claims in groups.items()]
    return [_planned(block, cache_dir, reporter) for block in blocks]


def _block(table: AnyTable, claims: Sequence[Claim], scale: str, asked: ClaimsRequest) -> Block:
    dataset, methods = claims[0].dataset, dict.fromkeys(one.method for one in claims if one.method != TRUTH)
    encoder, unseen = _encoder(claims[0].encoder, asked)
    overrides, unmade = _overrides(table, dataset, methods, asked)
    own = by_encoder(table)
    said = {
        **{name: getattr(asked, name) for name in _PASSED},
        **encoder,
        "dataset": dataset,
        "methods": tuple(methods),
        "overrides": (*asked.overrides, *overrides),
        "normalization": (scale,),
        "split": _split(table),
    }
    request = _request(table, claims, said, asked)
    lacks = lacking(dataset, asked.data_root) or (unseen if own else "")
    missing = tuple(text for text in (unseen, *unmade) if text and not (own and text == unseen))
    return Block(table, tuple(claims), request, missing, lacks)


def _split(table: AnyTable) -> str:
    here = table.here.split if isinstance(table, ReportedTable) else ""
    return here or table.conditions.split or "slide"


def _request(table: AnyTable, claims: Sequence[Claim], said: Mapping[str, Any], asked: ClaimsRequest) -> Request:
    """An ablation, a sweep where a method has several panel sizes, else a run."""
    if isinstance(table, PaperAblation):
        vectors = _paths(asked, claims[0].dataset)
        return AblateRequest(
            **said, genes=(claims[0].genes or 0,), tables=(table.table,),
            vectors=tuple(f"{name}={path}" for name, path in vectors.items() if Path(path).exists()),
        )  # fmt: skip
    sizes = {claim.genes for claim in claims if claim.genes is not None} or {table.here.genes or 0}
    kind = SweepRequest if len(sizes) > 1 else Request
    return kind(**said, genes=tuple(sorted(sizes)), controls=asked.controls)


def _encoder(reported: str, asked: ClaimsRequest) -> tuple[dict[str, Any], str]:
    """Encoder and weights of a request, and what is missing of the reported one."""
    files = {name: Path(path) for name, path in pairs("--weights", asked.weight_files).items()}
    wanted = asked.encoder or reported
    if not wanted:
        return {}, ""
    weights = files.get(wanted)
    if asked.encoder is None and weights is None:
        try:
            load_encoder(wanted)
        except UnknownNameError:
            return {}, f"no encoder {wanted} is registered here"
        except UserError:
            return (
                {},
                f"weights of {wanted}: give --weights {wanted}=PATH; nothing is downloaded (stbench encode --list)",
            )
    return {"encoder": wanted, "weights": weights}, ""


def _overrides(
    table: AnyTable, dataset: str, methods: Mapping[str, None], asked: ClaimsRequest
) -> tuple[list[str], list[str]]:
    """Settings that hold the reported vectors, and how to get those that were not given."""
    given, found, missing = _paths(asked, dataset), [], []
    by_hand = {word.partition("=")[0] for word in asked.overrides}
    for setting, name in table.conditions.vectors.items():
        key = f"{table.method}.{setting}" if isinstance(table, PaperAblation) else setting
        if key.partition(".")[0] not in methods or {key, key.partition(".")[2]} & by_hand:
            continue
        if name in given and Path(given[name]).exists():
            found.append(f"{key}=file:{given[name]}")
        else:
            missing.append(_how_to_get(name, table, dataset, asked))
    return found, missing


def _paths(asked: ClaimsRequest, dataset: str) -> dict[str, str]:
    """Gene model to its vectors for a cohort.

    Raises:
        SettingError: no such file; one cohort of several may lack its own.
    """
    given = pairs("--prior", asked.vectors)
    for name, path in given.items():
        if _DATASET not in path and not Path(path).exists():
            raise SettingError(f"--prior {name}: expected a file or folder of vectors at {path}, found none")
    return {name: path.replace(_DATASET, dataset) for name, path in given.items()}


def _how_to_get(name: str, table: AnyTable, dataset: str, asked: ClaimsRequest) -> str:
    if name not in MODELS:
        return f"vectors of {name} for {dataset}: give --prior {name}=PATH"
    genes = max((claim.genes or 0 for claim in table.claims()), default=0)
    task = Request(dataset=dataset, genes=(genes or 200,), split=_split(table), split_seed=asked.split_seed)
    words = ["stbench", "prior", "--model", name, *task.words(("dataset", "genes", "split", "split_seed"))]
    root = [] if asked.data_root is None else ["--data-root", str(asked.data_root)]
    place = f"priors/{name}-{dataset}"
    command = shlex.join([*words, "--weights", "DIR", *root, "--out", place])
    return f"vectors of {name} for {dataset}: write them with {command}, then give --prior {name}={place}"


def _planned(block: Block, cache_dir: Path, reporter: Reporter) -> Block:
    if block.problem:
        return block
    try:
        return replace(block, grid=_grid(block.request, cache_dir, reporter))
    except UserError as error:
        return replace(block, problem=str(error))


def _grid(request: Request, cache_dir: Path, reporter: Reporter) -> GridPlan:
    if isinstance(request, AblateRequest):
        return plan_ablation(request, cache_dir, reporter)
    if isinstance(request, SweepRequest):
        return plan_sweep(request, cache_dir, reporter)
    return run_grid(plan(request, cache_dir, reporter))


def nothing_to_run(blocks: Sequence[Block]) -> UserError:
    """What to say where no grid can be run."""
    reasons: dict[str, list[str]] = {}
    for block in blocks:
        reasons.setdefault(block.problem, []).append(block.claims[0].dataset)
    said = [
        reason if set(names) & set(reason.split()) else f"{listed(dict.fromkeys(names))}: {reason}"
        for reason, names in reasons.items()
    ]
    tables = dict.fromkeys(block.table.table for block in blocks)
    return UserError(f"nothing of table {listed(tables)} can be run: {'; '.join(said) or 'no such claim'}")
