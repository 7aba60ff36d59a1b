"""Files of others: nothing waits, nothing is unpacked without end, nothing is nested without end."""

import gzip
import json
import os
import zipfile

import pytest

from stbench.errors import SettingError
from stbench.reading import (
    TABLE,
    Limit,
    check_arrays,
    check_own,
    check_regular,
    check_table,
    parse_json,
    read_json,
)


def test_a_pipe_a_folder_and_a_device_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path, said in (("pipe", "a pipe, no file"), ("link", "a pipe"), (".", "a folder"), ("/dev/zero", "a device")):
        with pytest.raises(OSError, match=said):
            check_regular(tmp_path / path)
    with pytest.raises(OSError, match="No such file"):
        check_regular(tmp_path / "nothing")
    with pytest.raises(OSError, match="too long"):
        check_regular(tmp_path / ("x" * 300))


def test_a_gzip_is_held_against_what_it_unpacks_to(tmp_path, monkeypatch):
    path = tmp_path / "counts.tsv.gz"
    path.write_bytes(gzip.compress(b"0" * 3_000_000) + gzip.compress(b"1" * 3_000_000))  # two members
    check_table(path)
    monkeypatch.setenv(TABLE.variable, "0.005")
    assert path.stat().st_size < 0.005e9
    with pytest.raises(OSError, match=r"at most 0\.005 GB are read .*set STBENCH_MAX_TABLE_GB"):
        check_table(path)
    (tmp_path / "plain.tsv").write_bytes(b"0" * 5_000_001)
    with pytest.raises(OSError, match="STBENCH_MAX_TABLE_GB"):
        check_table(tmp_path / "plain.tsv")


def test_a_zero_byte_in_a_text(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"1\t2\n1\x003\t4\n")
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress((tmp_path / "a.tsv").read_bytes()))
    for name in ("a.tsv", "a.tsv.gz"):
        with pytest.raises(OSError, match="a zero byte near byte 5"):
            check_table(tmp_path / name)


def test_a_zip_is_held_against_what_it_says_it_unpacks_to(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", b"0" * 3_000_000)
    check_arrays(tmp_path / "a.npz")
    monkeypatch.setenv("STBENCH_MAX_ARRAYS_GB", "0.002")
    with pytest.raises(OSError, match="STBENCH_MAX_ARRAYS_GB"):
        check_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("text", ["0", "-1", "much", "inf", "nan"])
def test_a_limit_that_is_none_is_said(text, monkeypatch):
    monkeypatch.setenv("STBENCH_MAX_TEST_GB", text)
    with pytest.raises(SettingError, match=r"STBENCH_MAX_TEST_GB: expected a positive number of GB, found"):
        Limit("STBENCH_MAX_TEST_GB", 1).check(1, "x")


def test_json_in_utf8_with_or_without_a_byte_order_mark(tmp_path):
    (tmp_path / "a.json").write_text('{"ä": [1, NaN]}', encoding="utf-8-sig")
    assert list(read_json(tmp_path / "a.json")) == ["ä"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": 1, "a": 2}', "the key 'a' twice"),
        (b'{"a": NaN}', "NaN, which is no number"),
        (b'{"a": -Infinity}', "-Infinity, which is no number"),
        ('{"ä": 1}'.encode("latin-1"), "utf-8"),
        ('{"a": 1}'.encode("utf-16"), "utf-8"),
        (b"", "Expecting value"),
        (b"1" * 5000, "digits"),
    ],
)
def test_json_that_is_none(content, said):
    with pytest.raises(ValueError, match=said):
        parse_json(content, strict=True)


def test_json_is_not_read_without_end(tmp_path, monkeypatch):
    monkeypatch.setenv("STBENCH_MAX_JSON_GB", "0.0001")
    (tmp_path / "a.json").write_text(json.dumps(["x" * 100] * 1000))
    with pytest.raises(OSError, match="STBENCH_MAX_JSON_GB"):
        read_json(tmp_path / "a.json")


def test_gzipped_json_is_bound_by_what_it_unpacks_to(tmp_path, monkeypatch):
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(json.dumps(["x" * 100] * 1000).encode()))
    assert read_json(path) == ["x" * 100] * 1000
    monkeypatch.setenv("STBENCH_MAX_JSON_GB", "0.0001")
    assert path.stat().st_size < 0.0001e9
    with pytest.raises(OSError, match="STBENCH_MAX_JSON_GB"):
        read_json(path)
    path.write_bytes(path.read_bytes()[:-8])
    monkeypatch.undo()
    with pytest.raises(EOFError):
        read_json(path)


def test_a_link_out_of_a_folder_is_not_its_file(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "run/record.json").symlink_to("../other.json")
    (tmp_path / "run/real.json").write_text("{}")
    (tmp_path / "run/inner.json").symlink_to("real.json")
    (tmp_path / "latest").symlink_to("run")
    check_own(tmp_path / "run/inner.json", tmp_path / "run")
    check_own(tmp_path / "latest/real.json", tmp_path / "latest")
    with pytest.raises(OSError, match=r"a link out of the folder, to .*other\.json"):
        check_own(tmp_path / "run/record.json", tmp_path / "run")
