"""What the predictions of a method are worth, gene by gene, on patients it had not seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from stbench.errors import DataError
from stbench.evaluation.model import GeneWorth
from stbench.evaluation.record import PRIMARY, Record
from stbench.pages.facts import leaking
from stbench.pages.marks import COUNT_SPLIT
from stbench.pages.patients import by_patient, estimate

Values = dict[str, float]  # patient to PCC


def worth_of(
    records: Iterable[Record],
    method: str,
    settings: Mapping[str, Any],
    scale: str,
    encoder: str,
    genes: Sequence[str],
) -> list[GeneWorth]:
    """Per gene, over patients that neither trained nor validated: PCC, its interval, the best control, the ceiling.

    Args:
        records: of the folds of a run with its controls.
        method: name of the method.
        settings: every resolved setting of it.
        scale: of expression.
        encoder: key of the task's encoder.
        genes: panel of the model; of genes that no fold holds nothing is known.

    Raises:
        DataError: there is no finished run of the method so on unseen patients.
    """
    clean = [record for record in records if _is_clean(record, scale, encoder)]
    mine = [record for record in clean if (record.method, record.settings) == (method, settings)]
    if not mine:
        raise DataError(
            f"--worth: expected a finished run of {method} with the same settings, encoder and scale ({scale}) whose "
            "test patients train and validate nowhere, found none; run it with --split lopo"
        )
    return worth_among(clean, mine, genes)


def worth_among(
    records: Sequence[Record], mine: Sequence[Record], genes: Iterable[str], *, interval: bool = True
) -> list[GeneWorth]:
    """As :func:`worth_of`, of runs that were chosen already.

    Args:
        records: finished runs of the same folds and scale, controls and ceilings among them.
        mine: those of the method.
        genes: whose worth is asked.
        interval: whether an interval may be given: patients are known, and none was seen.
    """
    controls = sorted({record.method for record in records if record.kind == "control"})
    named = {name: [record for record in records if record.method == name] for name in (*controls, COUNT_SPLIT)}
    return [_worth(gene, mine, named, controls, interval=interval) for gene in genes]


def _is_clean(record: Record, scale: str, encoder: str) -> bool:
    task = record.task
    known = None not in {task.patients[slide] for slide in task.test}
    same = task.scale == scale and _kind(task.encoder) == _kind(encoder)
    return record.status == "done" and same and known and not leaking(task)


def _kind(encoder: str) -> list[str]:
    """Name and version, or hash of weights: the rest of a key is of the slides."""
    return encoder.split("/")[:2]


def _worth(
    gene: str, mine: Sequence[Record], named: dict[str, list[Record]], controls: list[str], *, interval: bool
) -> GeneWorth:
    found = _patients(mine, gene)
    if not found:
        return GeneWorth(gene=gene, patients=0)
    over, means = estimate(found, interval=interval), {name: _mean(_patients(named[name], gene)) for name in controls}
    known = {name: mean for name, mean in means.items() if mean is not None}
    best = max(known, key=lambda name: known[name], default="")
    least = known.get(best)
    low = None if over.half is None else over.mean - over.half
    return GeneWorth(
        gene=gene,
        patients=len(found),
        pcc=over.mean,
        low=low,
        high=None if over.half is None else over.mean + over.half,
        control=best,
        control_pcc=least,
        ceiling=_mean(_patients(named[COUNT_SPLIT], gene)),
        trusted=low is not None and low > 0 and (least is None or over.mean > least),
    )


def _patients(records: Iterable[Record], gene: str) -> Values:
    """Patient to PCC of the gene, over slides, folds and seeds."""
    found: dict[str, list[float]] = {}
    for record in records:
        if gene in record.task.genes:
            column = record.task.genes.index(gene)
            values = {slide: per[column] for slide, per in record.per_gene.get(PRIMARY, {}).items()}
            for patient, mean in (by_patient(values, record.task.patients) or {}).items():
                found.setdefault(patient, []).append(mean)
    return {patient: float(np.mean(values)) for patient, values in found.items()}


def _mean(values: Values) -> float | None:
    return float(np.mean(list(values.values()))) if values else None
