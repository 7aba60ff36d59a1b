"""What workers need before they begin; loaded once by the process they come from, which never sees a slide.

Ceilings are given slides. What is loaded stays: a collector that looks through it copies every page that workers share,
a third of a second each.
"""

import gc

from stbench.process import settle

settle()

import anndata  # noqa: E402, F401
import safetensors.numpy  # noqa: E402, F401

import stbench.grids.crew  # noqa: E402
import stbench.metrics.score  # noqa: E402, F401

gc.collect()
gc.freeze()
