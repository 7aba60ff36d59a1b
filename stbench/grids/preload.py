"""What workers need before they begin; loaded once by the process they come from, which never sees a slide.

Ceilings are given slides. What is loaded is held: the collector took a third of a second of every worker.
"""

from stbench.process import hold, settle

settle()

import anndata  # noqa: E402, F401
import safetensors.numpy  # noqa: E402, F401

import stbench.grids.crew  # noqa: E402
import stbench.metrics.score  # noqa: E402, F401

hold()
