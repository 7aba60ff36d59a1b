"""`stbench report`, on a tiny simulated cohort."""

from pathlib import Path

from .conftest import TINY


def test_a_page_of_a_run_and_an_index_of_boards(stbench):
    words = ["--no-controls", *TINY, "--encoder", "mean-rgb", "--genes", "5"]
    assert stbench("run", "--method", "ridge", *words, "--out", "mine").code == 0
    ended = stbench("report", "mine", "--out", "seen/r.html")
    assert (ended.code, ended.out) == (0, "seen/r.html\n"), ended.err
    assert "No training curves: expected history.csv" in ended.err
    page = Path("seen/r.html").read_text(encoding="utf-8")
    assert "stbench report mine --out seen/r.html" in page
    assert stbench("leaderboard", "mine", "--out", "boards").code == 0
    assert stbench("run", "--method", "ridge", *words[:-1], "6", "--out", "other").code == 0
    assert stbench("leaderboard", "other", "--out", "boards").code == 0
    ended = stbench("report", "boards", "--out", "site/index.html")
    assert ended.code == 0, ended.err
    assert sorted(ended.out.splitlines()) == sorted(str(path) for path in Path("site").iterdir())
    assert len(ended.out.splitlines()) == 3


def test_what_is_wrong_is_one_line(stbench):
    words = ["--no-controls", *TINY, "--encoder", "mean-rgb", "--genes", "5"]
    assert stbench("run", "--method", "ridge", *words, "--out", "mine").code == 0
    assert "unknown gene 'GENE1': did you mean GENE" in stbench("report", "mine", "--gene", "GENE1").reason
    Path("empty").mkdir()
    assert "expected record.json in empty, found none" in stbench("report", "empty").reason
    Path("file").write_text("")
    assert "choose another --out" in stbench("report", "mine", "--out", "file/r.html").err
    for stored in Path("mine").rglob("predictions/*.h5ad"):
        stored.write_bytes(stored.read_bytes()[:-9])
    assert "mine" in stbench("report", "mine").reason
    assert not Path("report.html").exists()
