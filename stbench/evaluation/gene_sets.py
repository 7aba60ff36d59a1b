"""Gene sets of a run: the file that ``--gene-sets`` names, and what of it a panel can score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stbench.data.gene_sets import read_gene_sets
from stbench.errors import DataError, UnknownNameError
from stbench.evaluation.record import GeneSetFacts, Record
from stbench.files import sha256_of
from stbench.metrics.gene_sets import FEWEST, usable

Sets = dict[str, list[str]]


@dataclass(frozen=True)
class GeneSetFile:
    """A file of gene sets.

    Args:
        path: of the file, for messages.
        sets: name to genes.
        sha256: of the file.
    """

    path: Path
    sets: Sets
    sha256: str

    @classmethod
    def read(cls, path: Path) -> GeneSetFile:
        """Read GMT or JSON; raises DataError as :func:`stbench.data.gene_sets.read_gene_sets` does."""
        return cls(path, read_gene_sets(path), sha256_of(path))

    def within(self, panel: Sequence[str]) -> Sets:
        """The sets that have enough genes in a panel to be scored, with all their genes."""
        return usable(self.sets, panel)

    def facts(self, panel: Sequence[str]) -> GeneSetFacts:
        """What a record keeps of the file."""
        return GeneSetFacts(sha256=self.sha256, n_sets=len(self.sets), n_used=len(self.within(panel)))

    def named(self, name: str, panel: Sequence[str]) -> list[str]:
        """Genes of one set in the order of a panel.

        Raises:
            UnknownNameError: there is no such set.
        """
        if name not in self.sets:
            raise UnknownNameError("gene set", name, self.sets, hint=f"in {self.path}")
        wanted = set(self.sets[name])
        return [gene for gene in panel if gene in wanted]

    def note(self, panel: Sequence[str]) -> str:
        """One line where a panel is too small for every set, else empty."""
        if self.within(panel):
            return ""
        most = max(self.sets, key=lambda name: len(set(self.sets[name]) & set(panel)))
        n = len(set(self.sets[most]) & set(panel))
        return (
            f"gene sets: expected one with {FEWEST} genes in the panel of {len(panel)}, found none of "
            f"{len(self.sets)} in {self.path} ({most} has most: {n}); their scores are undefined, give more --genes"
        )


def sets_again(record: Record) -> GeneSetFile | None:
    """The gene sets that a run was given, None without any.

    Raises:
        DataError: the file is gone or another one: its scores could not be made again.
    """
    if record.gene_sets is None:
        return None
    said, sha256 = record.request.get("gene_sets"), record.gene_sets.sha256
    path = Path(str(said))
    if not path.is_file() or sha256_of(path) != sha256:
        found = "another" if path.is_file() else "none"
        raise DataError(
            f"expected the gene sets that were scored (sha256 {sha256[:16]}), found {found} at {said}; give --gene-sets"
        )
    return GeneSetFile.read(path)
