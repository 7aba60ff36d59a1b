"""HisToGene (bioRxiv 2021.11.28.470212): a transformer over all spots of a slide regresses their expression."""

from stbench.methods.histogene.method import HisToGene, load_official

__all__ = ["HisToGene", "load_official"]
