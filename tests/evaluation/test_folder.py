"""The folder of a run: its log."""

from stbench.evaluation.folder import LOG, RunFolder, RunKey

KEY = RunKey(task="t", method="m", entry="e:M", settings={}, seed=0, draws=1)


def test_a_log_is_read_line_by_line_whatever_lies_in_it(tmp_path):
    place = RunFolder(tmp_path, KEY)
    assert place.logged("fit") == []
    place.log("fit", seconds=1)
    with (tmp_path / LOG).open("ab") as log:
        log.write(b'3\n"fit"\n["fit"]\nnull\n\n\xff\xfe{}\n' + b"[" * 100_000 + b'\n\0\0\0\n{"event": "fi')
    place.log("fit", seconds=2)
    assert [said["seconds"] for said in place.logged("fit")] == [1, 2]


def test_a_log_that_cannot_be_written_is_left_out(tmp_path):
    RunFolder(tmp_path / "nowhere", KEY).log("fit")
    assert not (tmp_path / "nowhere").exists()
