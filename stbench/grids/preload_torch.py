"""What workers need besides, where a method is a network."""

import stbench.grids.preload  # isort: skip  # settles the process before torch is loaded
import stbench.methods.nn.graph_transformer
import stbench.training.loop  # noqa: F401
