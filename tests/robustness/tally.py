"""Counts how many tries ended how; all but the clean ones have to be none."""

from collections import Counter

CLEAN, TRACEBACK, WRONG, HANG = "clean", "traceback", "silent wrong", "hang"


class Tally(Counter):
    """Ends to how often; what was tried is kept for those that were not clean."""

    def __init__(self):
        super().__init__()
        self.wrong = []

    def count(self, end, tried):
        self[end] += 1
        self.wrong += [f"{tried}: {end}"] if end != CLEAN else []

    def text(self, what):
        """A row of the table in the benchmarks."""
        said = [self[end] for end in (CLEAN, TRACEBACK, WRONG, HANG)]
        return f"| {what} | {sum(self.values())} | {' | '.join(map(str, said))} |"
