"""`stbench plot`, on a tiny simulated cohort."""

from pathlib import Path

from .conftest import TINY


def test_pictures_of_a_run(stbench):
    words = ["--no-controls", *TINY, "--encoder", "mean-rgb", "--genes", "5", "--out", "mine"]
    assert stbench("run", "--method", "linear-gaussian", *words).code == 0
    ended = stbench("plot", "mine", "--kind", "maps,moran", "--out", "seen")
    assert ended.code == 0, ended.err
    assert len(ended.out.splitlines()) == 8
    assert sorted(ended.out.splitlines()) == sorted(str(path) for path in Path("seen").iterdir())
    assert "unknown gene 'NOPE'" in stbench("plot", "mine", "--gene", "NOPE").reason
    assert "expected record.json in nowhere, found none" in stbench("plot", "nowhere").reason
    assert "unknown kind of picture ''" in stbench("plot", "mine", "--kind", "").reason
    assert not Path("plots").exists()
