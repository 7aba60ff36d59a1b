"""What workers need besides, where the control that draws is asked for: it fits a covariance, loaded in a second."""

import gc
from importlib import import_module

for name in ("stbench.grids.preload", "sklearn.covariance"):  # the first settles the process
    import_module(name)

gc.collect()
gc.freeze()
