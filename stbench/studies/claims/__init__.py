"""Claims: the numbers a paper reports, ours beside them, and whether both are of one experiment."""
