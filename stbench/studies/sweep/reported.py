"""What papers report of a method on two sizes of the panel."""

from __future__ import annotations

from dataclasses import dataclass

from stbench.catalogue.entries import paper_cards


@dataclass(frozen=True)
class Reported:
    """One metric of one method on two panel sizes.

    Args:
        paper: name of its card.
        table: name of the table.
        dataset: the paper's cohort.
        small: value on the smaller panel.
        large: value on the larger panel.
    """

    paper: str
    table: str
    dataset: str
    small: float
    large: float

    @property
    def fall(self) -> float:
        """How much lower it is on the larger panel."""
        return self.small - self.large


def reported(method: str, metric: str, small: int, large: int) -> Reported | None:
    """The first table of a paper with both sizes, None where there is none."""
    for paper in paper_cards().values():
        found: dict[tuple[str, str], dict[int | None, float]] = {}
        for claim in paper.claims():
            if (claim.method, claim.metric, claim.label) == (method, metric, ""):
                found.setdefault((claim.table, claim.dataset), {})[claim.genes] = claim.value
        for (table, dataset), values in found.items():
            if {small, large} <= set(values):
                return Reported(paper.name, table, dataset, values[small], values[large])
    return None
