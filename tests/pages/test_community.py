"""Rows that were sent in."""

import re

from stbench.pages.leaderboard import leaderboard

from .test_leaderboard import record


def test_their_seeds_are_never_averaged_with_those_of_others():
    own = [record("a", [0.2] * 4, seed=seed) for seed in (0, 1)]
    sent = record("a", [0.8] * 4, seed=2, rescored=True)
    page = leaderboard([*own, sent])
    assert "| a | 0.200" in page
    assert re.search(r"^.*\| a \(re-scored\)[ =]* \| 0.800", page, re.MULTILINE)
    (line,) = [line for line in page.splitlines() if line.startswith("- `(re-scored)`")]
    assert line.endswith("is the sender's word: a.")
    assert "sent in" not in leaderboard(own)


def test_one_run_may_be_there_twice_with_other_scores():
    """Another machine trains a little otherwise: a run of the board's own is no contradiction of one that was sent."""
    assert "| a (re-scored) |" in leaderboard([record("a", [0.2] * 4), record("a", [0.3] * 4, rescored=True)])
