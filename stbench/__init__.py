"""stbench: a benchmark harness for predicting spatial gene expression from H&E slides."""

__version__ = "0.1.0"
