"""Tables of genes beside counts."""

import gzip

import pytest

from stbench.data.readers.gene_table import read_gene_table, symbols_of
from stbench.errors import DataError

ENSG = "ENSG00000141736"


def written(path, text, encoding="utf-8"):
    content = text.encode(encoding)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return read_gene_table(path)


@pytest.mark.parametrize("name", ["genes.tsv", "genes.tsv.gz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", ["\t", ",", ";"])
def test_tables_as_people_save_them(tmp_path, name, encoding, separator):
    text = f"gene_name{separator}gene_id\nERBB2{separator}{ENSG}.14\n"
    assert symbols_of([f"{ENSG}.14"], written(tmp_path / name, text, encoding)) == ["ERBB2"]


def test_ids_are_looked_up_with_their_version_first(tmp_path):
    table = written(tmp_path / "genes.tsv", f"gene_id\tgene_name\n{ENSG}.14\tERBB2\n{ENSG}.2\tNEU\n")
    genes = [f"{ENSG}.2", f"{ENSG}.14", f"{ENSG}.99", ENSG, f"GRCh38_{ENSG}", "ENSG00000000001", "KRT19"]
    assert symbols_of(genes, table) == ["NEU", "ERBB2", "ERBB2", "ERBB2", "ERBB2", "ENSG00000000001", "KRT19"]


def test_what_is_no_symbol_names_nothing(tmp_path):
    rows = [
        "gene_id\tgene_name",
        "ENSG00000000001\t",
        "ENSG00000000002\tENSG00000000002",
        "\tX",
        "ENSG00000000003\tNA",
        f"{ENSG}\tERBB2",
    ]
    assert written(tmp_path / "genes.tsv", "\n".join(rows) + "\n") == {ENSG: "ERBB2"}


@pytest.mark.parametrize("number", ["1e400", "2.5", "inf"])
def test_a_number_is_no_symbol(tmp_path, number):
    with pytest.raises(DataError, match=rf"row 1: expected a symbol of {ENSG}, found the number {number}"):
        written(tmp_path / "genes.tsv", f"gene_id\tgene_name\n{ENSG}\t{number}\n")


def test_a_row_twice_is_one_and_two_symbols_are_refused(tmp_path):
    row = f"{ENSG}\tERBB2\n"
    assert written(tmp_path / "genes.tsv", "gene_id\tgene_name\n" + 2 * row) == {ENSG: "ERBB2"}
    with pytest.raises(DataError, match=rf"row 2: expected one symbol of every id, found ERBB2 and NEU of {ENSG}"):
        written(tmp_path / "genes.tsv", f"gene_id\tgene_name\n{row}{ENSG}\tNEU\n")


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08damaged", b"gene_id\tgene_name\nA\tB\tC\n", b"a\0b"])
def test_a_damaged_table_is_one_line(tmp_path, content):
    path = tmp_path / "genes.tsv.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"genes\.tsv\.gz: expected a table of genes, found: .*remove it") as error:
        read_gene_table(path)
    assert "\n" not in str(error.value)


HGNC = (
    "hgnc_id\tsymbol\tprev_symbol\talias_symbol\tensembl_gene_id\n"
    "HGNC:1\tCCN1\tCYR61\tIGFBP10|GIG1\tENSG00000142871\n"
    "HGNC:2\tCCN2\tCTGF\tIGFBP8\tENSG00000118523\n"
    "HGNC:3\tSEPTIN9\tMSF|SEPT9\tAF17q25|GIG1\tENSG00000184640\n"
    "HGNC:4\tMSF\t\tCTGF\tENSG00000184640\n"
)


def test_older_symbols_are_called_as_today(tmp_path):
    """CTGF was the symbol of one gene and is an alias of another; MSF is a symbol, GIG1 the alias of two genes."""
    table = written(tmp_path / "hgnc.txt", HGNC)
    genes = ["CYR61", "CTGF", "IGFBP10", "SEPT9", "MSF", "GIG1", "CCN1", "KRT19", "cyr61", "ENSG00000142871.9"]
    expected = ["CCN1", "CCN2", "CCN1", "SEPTIN9", "MSF", "GIG1", "CCN1", "KRT19", "cyr61", "CCN1"]
    assert symbols_of(genes, table) == expected
    assert symbols_of(["ENSG00000184640"], table) == ["ENSG00000184640"]  # of two genes


def test_a_table_without_what_to_look_for_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected a column gene_name or symbol beside gene_id, prev_symbol or"):
        written(tmp_path / "t.csv", "symbol,chromosome\nCCN1,1\n")
