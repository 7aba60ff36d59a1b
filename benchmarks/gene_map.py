"""Draw genes of a slide, measured beside predicted, for docs/predict.md.

    python benchmarks/gene_map.py b4.h5ad --dataset her2st --slide B4 --out docs/b4.png

Genes are the best, the median and the worst by PCC over spots, so that nothing is chosen by eye.
"""

import argparse
from pathlib import Path

import anndata
import matplotlib.pyplot as plt
import numpy as np

import stbench

PANEL_IN = 2.6
SPOT_SHARE = 0.8  # of the distance to the next spot


def main() -> None:
    """Read predictions and counts, join them on spots, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--slide", required=True)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    found = anndata.read_h5ad(asked.predictions)
    measured = stbench.read_slide(asked.dataset, asked.slide, data_root=asked.data_root)
    spots = [spot for spot in measured.obs_names if spot in set(found.obs_names)]
    truth = np.log1p(measured[spots, found.var_names].X.toarray())
    predicted = np.asarray(found[spots].X)
    pcc = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(truth.T, predicted.T, strict=True)])
    order = np.argsort(pcc)[::-1]
    draw(measured[spots], truth, predicted, pcc, found.var_names, order[[0, len(order) // 2, -1]], asked.out)
    print(f"{len(spots)} spots; mean PCC {pcc.mean():.3f}; drawn into {asked.out}")


def draw(measured, truth, predicted, pcc, genes, chosen, out) -> None:  # type: ignore[no-untyped-def]
    """One column per gene: above measured, below predicted, each on its own range of colours."""
    xy = measured.obsm["spatial"]
    figure, axes = plt.subplots(2, len(chosen), figsize=(PANEL_IN * len(chosen), 2 * PANEL_IN), layout="constrained")
    pitch = np.median([np.sort(np.linalg.norm(xy - one, axis=1))[1] for one in xy])
    for column, gene in enumerate(chosen):
        for row, (values, said) in enumerate(((truth, "measured"), (predicted, "predicted"))):
            axis = axes[row, column]
            axis.set(xlim=(xy[:, 0].min() - pitch, xy[:, 0].max() + pitch))
            axis.set(ylim=(xy[:, 1].max() + pitch, xy[:, 1].min() - pitch), aspect="equal", xticks=[], yticks=[])
            figure.canvas.draw()
            size = SPOT_SHARE * pitch * (axis.transData.transform((1, 0)) - axis.transData.transform((0, 0)))[0]
            points = (size * 72 / figure.dpi) ** 2
            marks = axis.scatter(*xy.T, c=values[:, gene], s=points, cmap="viridis", linewidths=0)
            figure.colorbar(marks, ax=axis, shrink=0.7)
            axis.set_title(f"{genes[gene]}, {said}" + (f"\nPCC {pcc[gene]:.2f}" if row else ""), fontsize=9)
    figure.savefig(out, dpi=80, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
