"""What workers need besides, where a method is a network; the last is what an optimiser loads, which takes a second."""

from importlib import import_module

from stbench.process import hold

for name in (
    "stbench.grids.preload",  # settles the process before torch is loaded
    "stbench.methods.nn.graph_transformer",
    "stbench.training.loop",
    "torch._dynamo",
):
    import_module(name)

hold()
