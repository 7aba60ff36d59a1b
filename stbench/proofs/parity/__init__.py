"""Whether a port computes what the original code computed."""

from stbench.proofs.parity.compare import Report, Row, compare_file

__all__ = ["Report", "Row", "compare_file"]
