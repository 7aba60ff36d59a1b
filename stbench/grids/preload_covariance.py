"""What workers need besides, where the control that draws is asked for: it fits a covariance, loaded in a second."""

from importlib import import_module

from stbench.process import hold

for name in ("stbench.grids.preload", "sklearn.covariance"):  # the first settles the process
    import_module(name)

hold()
