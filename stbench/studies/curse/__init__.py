"""The gene dimension curse (arXiv:2605.18055, Appendix E) on simulated genes and on the counts of a cohort."""
