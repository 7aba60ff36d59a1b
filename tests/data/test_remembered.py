"""What was parsed of a slide's files is read from the cache, and parsed again where that is not possible."""

import gzip

import pytest

from stbench.data.opening import open_dataset
from stbench.data.readers import count_table
from stbench.errors import DataError
from stbench.reporting import Silent

from .layouts import write_her2st, write_st


class Listener(Silent):
    def __init__(self):
        self.lines = []

    def info(self, message):
        self.lines.append(message)


@pytest.fixture
def parsed(monkeypatch):
    """Files that were parsed."""
    files, read = [], count_table._read

    def counted(path):
        files.append(path.name)
        return read(path)

    monkeypatch.setattr(count_table, "_read", counted)
    return files


def load(folder, cache, reporter=None):
    cohort, _ = open_dataset(str(folder), None, (), cache, reporter or Listener())
    return cohort.load(cohort.ids[0])


def bits(slide):
    parts = (slide.counts.data, slide.counts.indices, slide.counts.indptr, slide.xy)
    arrays = [(part.dtype.str, part.tobytes()) for part in parts]
    return [*arrays, slide.genes, slide.spot_ids, slide.notes, slide.orders, slide.adata.obs.to_csv()]


def entries(cache):
    return sorted((cache / "parsed").iterdir())


@pytest.mark.parametrize(("write", "name"), [(write_her2st, "A1.tsv.gz"), (write_st, "S1.tsv.gz")])
def test_a_slide_from_the_cache_is_the_same_to_the_bit(write, name, tmp_path, parsed):
    write(tmp_path / "own")
    plain = load(tmp_path / "own", None)
    first, second = (load(tmp_path / "own", tmp_path / "cache") for _ in range(2))
    assert bits(first) == bits(second) == bits(plain)
    assert parsed == [name, name]  # without a cache, and once for it


def test_a_file_that_changed_is_read_again(tmp_path, parsed):
    counts = write_her2st(tmp_path / "own")
    load(tmp_path / "own", tmp_path / "cache")
    counts[2, 1] += 1
    write_her2st(tmp_path / "own", matrix=counts)
    assert (load(tmp_path / "own", tmp_path / "cache").counts.toarray() == counts).all()
    assert len(parsed) == 2


def test_what_is_no_table_is_no_table_though_its_content_was_read_under_another_name(tmp_path):
    write_her2st(tmp_path / "own")
    load(tmp_path / "own", tmp_path / "cache")
    packed = tmp_path / "own/data/ST-cnts/A1.tsv.gz"
    packed.rename(packed.with_suffix(""))
    with pytest.raises(DataError, match=r"A1\.tsv: expected"):
        load(tmp_path / "own", tmp_path / "cache")


@pytest.mark.parametrize(
    "damage", [lambda said: said[:-1], lambda said: b"", lambda said: said[:90] + b"x" + said[91:]]
)
def test_a_damaged_entry_is_made_again_and_said(damage, tmp_path, parsed):
    write_her2st(tmp_path / "own")
    first = load(tmp_path / "own", tmp_path / "cache")
    (path,) = entries(tmp_path / "cache")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    listener = Listener()
    assert bits(load(tmp_path / "own", tmp_path / "cache", listener)) == bits(first)
    assert [line.partition(" is damaged (")[0] for line in listener.lines] == [f"cache entry {path}"]
    assert path.read_bytes() == whole
    assert len(parsed) == 2


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, parsed):
    write_her2st(tmp_path / "own")
    (tmp_path / "cache").touch()
    listener = Listener()
    slides = [load(tmp_path / "own", tmp_path / "cache", listener) for _ in range(2)]
    assert bits(slides[0]) == bits(slides[1])
    assert (len(parsed), listener.lines) == (2, [])


def test_a_table_that_is_refused_leaves_nothing(tmp_path):
    write_her2st(tmp_path / "own")
    with gzip.open(tmp_path / "own/data/ST-cnts/A1.tsv.gz", "wt") as file:
        file.write("\tG1\n2x2\t1.5\n")
    with pytest.raises(DataError, match="raw counts"):
        load(tmp_path / "own", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
