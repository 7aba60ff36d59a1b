"""Gene sets from GMT and JSON."""

import gzip
import json

import pytest

from stbench.data.gene_sets import read_gene_sets
from stbench.errors import DataError

SETS = {"HYPOXIA": ["VEGFA", "CA9"], "EMT": ["VIM"]}


def write(path, text):
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["sets.gmt", "sets.gmt.gz", "sets.txt"])
def test_gmt(tmp_path, name):
    assert read_gene_sets(write(tmp_path / name, "HYPOXIA\thttp://x\tVEGFA\tCA9\t\r\n\nEMT\t\tVIM\n")) == SETS


@pytest.mark.parametrize("name", ["sets.json", "sets.json.gz"])
def test_json_plain_and_of_msigdb(tmp_path, name):
    assert read_gene_sets(write(tmp_path / name, json.dumps(SETS))) == SETS
    said = {one: {"systematicName": "M1", "geneSymbols": genes} for one, genes in SETS.items()}
    assert read_gene_sets(write(tmp_path / name, json.dumps(said))) == SETS


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.gmt", "", "found none"),
        ("a.gmt", "HYPOXIA VEGFA CA9\n", "line 1 without tabs"),
        ("a.gmt", "A\tx\tB\nA\tx\tC\n", "set A twice, again in line 2"),
        ("a.gmt", "A\tx\n", "expected genes in every set, found none in A"),
        ("a.gmt", "A\tx\tB\0\n", "a zero byte"),
        ("a.json", "[1]", "list in place of names of sets"),
        ("a.json", '{"A": "B"}', "set A without a list"),
        ("a.json", '{"A": [1]}', "set A without a list"),
        ("a.json", '{"A": ["B"], "A": ["C"]}', "twice"),
        ("a.json", "{", "expected gene sets, found"),
    ],
)
def test_damage_is_said_in_one_line(tmp_path, name, text, said):
    with pytest.raises(DataError) as error:
        read_gene_sets(write(tmp_path / name, text))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_letters_that_are_not_utf_8_are_said_in_one_line(tmp_path):
    path = tmp_path / "sets.gmt"
    path.write_bytes("A\tx\tGÈNE\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"expected gene sets, found: .*utf-8") as error:
        read_gene_sets(path)
    assert "\n" not in str(error.value)


def test_what_is_no_file(tmp_path):
    for path in (tmp_path, tmp_path / "none.gmt"):
        with pytest.raises(DataError, match="expected gene sets"):
            read_gene_sets(path)


@pytest.mark.real
def test_hallmark_sets(real_data):
    found = read_gene_sets(real_data / "genesets" / "hallmark.json")
    assert {name: len(genes) for name, genes in found.items()} == {
        "HALLMARK_ESTROGEN_RESPONSE_EARLY": 200,
        "HALLMARK_HYPOXIA": 200,
        "HALLMARK_EPITHELIAL_MESENCHYMAL_TRANSITION": 200,
    }
