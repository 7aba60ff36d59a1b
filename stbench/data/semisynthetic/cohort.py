"""The semi-synthetic cohort: made as a whole when its first slide is asked for, then read from a cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from stbench.data.cohort import Cohort
from stbench.data.hdf5_writing import write_h5ad
from stbench.data.panel import Moments, candidate_genes, hmhvg
from stbench.data.secret import said_of
from stbench.data.semisynthetic.ceiling import MADE, NOISY, SHARE
from stbench.data.semisynthetic.features import FloatArray, RandomNetwork, noisy_expression
from stbench.data.semisynthetic.settings import SemisyntheticSettings
from stbench.data.slide import FEATURES, FEATURES_KEY, Slide
from stbench.errors import DataError, SettingError
from stbench.files import CHOOSE_CACHE, sha256_of, whole
from stbench.filling import filling, there
from stbench.reporting import SILENT, Reporter

if TYPE_CHECKING:
    from anndata import AnnData

NAME = "semisynthetic"
_SUMS = "sha256.json"
_UM_PER_PX, _NOTES = "um_per_px", "notes"  # uns[MADE]


def open_semisynthetic(
    settings: SemisyntheticSettings, base: Cohort, folder: Path, cache_dir: Path, reporter: Reporter = SILENT
) -> Cohort:
    """Real counts with features made from them; nothing is read before a slide is asked for.

    Kept of the counts are the ``n_genes`` genes that rank highest by mean and standard deviation (Eq. 17 of
    arXiv:2605.18055) over all sections found; the network's input is centred and scaled per gene over the same spots.
    Which genes are measured, and these two numbers per gene, are part of how the cohort is made, as the optics of a
    microscope are; the panel of a task is chosen among the genes on its training slides. All else that enters the
    features of a slide is its own expression and noise seeded by its name.

    With settings keyed by a secret seed the cohort is made per fold: genes, centre and scale from the training slides
    of the fold alone (candidates are the genes that all sections name), noise and network from the seed and the names
    of these slides.

    Args:
        settings: share of the expression in the features, sizes, seed.
        base: real cohort, opened without asking for pictures.
        folder: where the base lies; a file of another size or time there makes the cohort anew.
        cache_dir: folder of caches; slides lie in ``semisynthetic/<hash>``.
        reporter: is told when the cohort is made.
    """
    secret = settings.secret
    if secret is not None:
        base = replace(base, reader=cache(base.reader))  # to read them takes longer than to make a fold's features
    seed = f"seed {settings.seed}" if secret is None else f"{said_of(secret)}, made for each fold"
    about = (
        f"features of width {settings.dim} made from the counts of {settings.n_genes} genes and noise, no picture; "
        f"they carry {settings.share:g} of every gene's variance over the spots of a slide ({seed})"
    )
    made = replace(base, name=f"{base.name}-{NAME}", about=about)

    def reader(
        keyed: SemisyntheticSettings, base: Cohort, train: tuple[str, ...] | None = None
    ) -> Callable[[str], Slide]:
        return _Store(keyed, base, cache_dir / NAME / _digest(keyed, base, folder), reporter, train).slide

    if secret is None:
        return replace(made, reader=reader(settings, base))

    def per_fold(train: tuple[str, ...], ids: tuple[str, ...]) -> Callable[[str], Slide]:
        kept = replace(base, refs=tuple(ref for ref in base.refs if ref.id in ids))  # no other one is read
        return reader(settings.keyed(secret.derived("fold", *train)), kept, train)

    return replace(made, reader=_no_fold, secret=secret.sha256, per_fold=per_fold)


def _no_fold(slide_id: str) -> Slide:
    raise SettingError(f"slide {slide_id}: expected a fold to make it for, as there is a secret seed, found none")


def _digest(settings: SemisyntheticSettings, base: Cohort, folder: Path) -> str:
    """Hash of the settings and of name, size and time of every file: reading the counts takes far longer."""
    files = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    facts = [[str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns] for path, stat in files]
    said = json.dumps([settings.digest(), base.name, base.ids, facts])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def make_slides(
    slides: Sequence[Slide], settings: SemisyntheticSettings, train: Collection[str] | None = None
) -> list[Slide]:
    """Give slides features made from their counts.

    Args:
        slides: every slide of the cohort.
        settings: how.
        train: slides that genes, centre and scale are taken from; all when None.

    Returns:
        The slides with the chosen genes alone and without a picture; ``obsm["features"]`` (n_spots, dim) and
        ``layers["noisy_expression"]`` (n_spots, n_genes) in float16.

    Raises:
        SettingError: fewer genes are common to the slides than asked for.
    """
    seen = {slide.id for slide in slides if train is None or slide.id in train}
    chosen = _with_genes(slides, seen, settings.n_genes)
    expression = {slide.id: np.log1p(slide.counts.toarray().astype(np.float64)) for slide in chosen}
    pooled = np.concatenate([expression[slide.id] for slide in chosen if slide.id in seen])
    scale = pooled.std(axis=0)
    network = RandomNetwork(settings, pooled.mean(axis=0), np.where(scale > 0, scale, 1.0))
    key = _features_key(chosen, settings)
    return [_with_features(slide, expression[slide.id], network, settings, key) for slide in chosen]


def _with_genes(slides: Sequence[Slide], seen: Collection[str], n_genes: int) -> list[Slide]:
    """Slides with the genes that rank highest on those of ``seen``, among the genes that all of them name."""
    common = set(slides[0].genes).intersection(*(slide.genes for slide in slides[1:]))
    genes = candidate_genes(common)
    if n_genes > len(genes):
        raise SettingError(
            f"--simulate n_genes: expected at most {len(genes)}, the genes common to all slides, found {n_genes}"
        )
    moments = Moments(genes)
    for slide in slides:
        if slide.id in seen:
            moments.update(csr_matrix(slide.adata[:, genes].X))
    names = [genes[i] for i in hmhvg(moments.mean, moments.std, n_genes)]
    return [replace(slide, adata=slide.adata[:, names].copy(), image=None) for slide in slides]


def _features_key(slides: Sequence[Slide], settings: SemisyntheticSettings) -> str:
    """Identity of the features by what they are made from: their own last bits differ between machines."""
    digest = hashlib.sha256(settings.digest().encode())
    for slide in sorted(slides, key=lambda slide: slide.id):
        digest.update(json.dumps([slide.id, slide.genes, slide.spot_ids]).encode())
        digest.update(np.ascontiguousarray(slide.counts.toarray(), dtype="<i4").tobytes())
        digest.update(np.ascontiguousarray(slide.xy, dtype="<f4").tobytes())
    return digest.hexdigest()


def _with_features(
    slide: Slide, expression: FloatArray, network: RandomNetwork, settings: SemisyntheticSettings, key: str
) -> Slide:
    noisy = noisy_expression(expression, slide.xy.astype(np.float64), settings, slide.id)
    adata = slide.adata
    adata.layers[NOISY] = noisy.astype(np.float16)
    adata.obsm[FEATURES] = network(noisy).astype(np.float16)
    adata.uns[FEATURES_KEY] = key
    adata.uns[MADE] = {
        SHARE: settings.share,
        "settings": settings.model_dump_json(),
        _UM_PER_PX: np.nan if slide.um_per_px is None else slide.um_per_px,
        _NOTES: json.dumps(slide.notes),
    }
    return slide


@dataclass(frozen=True)
class _Store:
    settings: SemisyntheticSettings
    base: Cohort
    folder: Path
    reporter: Reporter
    train: tuple[str, ...] | None = None

    def slide(self, slide_id: str) -> Slide:
        adata = self._read(slide_id, self.reporter)
        if adata is None:
            with filling(self.folder.parent, self.folder.name, f"cohort {self.base.name}-{NAME}", self.reporter):
                if self._read(slide_id, SILENT) is None:
                    self._make()
                adata = self._read(slide_id, self.reporter)
        if adata is None:
            raise DataError(f"cache entry {self._path(slide_id)} was damaged as soon as it was made; {CHOOSE_CACHE}")
        patient = next(ref.patient for ref in self.base.refs if ref.id == slide_id)
        um_per_px = float(adata.uns[MADE][_UM_PER_PX])
        notes = tuple(json.loads(adata.uns[MADE][_NOTES]))
        return Slide(slide_id, patient, adata, None, None if np.isnan(um_per_px) else um_per_px, notes)

    def _path(self, slide_id: str) -> Path:
        return self.folder / f"{slide_id}.h5ad"

    def _read(self, slide_id: str, reporter: Reporter) -> AnnData | None:
        """The cached slide, None when the cohort must be made."""
        from anndata import read_h5ad

        if not there(self.folder):
            return None
        with suppress(OSError, ValueError, KeyError, TypeError):  # another process may be making it again
            sums = json.loads((self.folder / _SUMS).read_text(encoding="utf-8"))
            if sums[slide_id] == sha256_of(self._path(slide_id)):
                return read_h5ad(self._path(slide_id))
        reporter.info(f"cache entry {self._path(slide_id)} is damaged; the cohort is made again")
        return None

    def _make(self) -> None:
        """Make all slides: genes are chosen, and the network's input is scaled, over all of them, or a fold's."""
        slides = []
        with self.reporter.track(f"making {self.base.name}-{NAME}", len(self.base.refs)) as advance:
            for slide_id in self.base.ids:
                slides.append(self.base.load(slide_id))
                advance(note=slide_id)
        made = make_slides(slides, self.settings, self.train)
        with whole(self.folder, hint=CHOOSE_CACHE, error=SettingError) as part:
            part.mkdir()
            for slide in made:
                write_h5ad(slide.adata, part / f"{slide.id}.h5ad", compression="lzf")
            sums = {slide.id: sha256_of(part / f"{slide.id}.h5ad") for slide in made}
            (part / _SUMS).write_text(json.dumps(sums), encoding="utf-8")
