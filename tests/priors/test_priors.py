import numpy as np
import pytest

from stbench.errors import DataError, SettingError, UnknownNameError
from stbench.priors import build_prior
from stbench.priors.table import read_embedding

GENES = ("A", "B", "C")


@pytest.fixture
def expression():
    generator = np.random.default_rng(0)
    return [generator.normal(size=(40, 3)).astype(np.float32) for _ in range(2)]


def save_npz(path, genes=("C", "A", "B", "X"), embedding=None):
    vectors = np.arange(len(genes) * 2, dtype=np.float32).reshape(-1, 2) if embedding is None else embedding
    np.savez(path, genes=np.array(genes), embedding=vectors)
    return path


def from_file(path, expression=(), genes=GENES, option="", slides=()):
    return build_prior(f"file:{path}{option}", expression, genes, slides)


def test_none_is_no_prior(expression):
    assert build_prior("none", expression, GENES) is None


def test_cosines_of_the_coexpression_prior_are_correlations_within_slides(expression):
    shifted = [expression[0], expression[1] + np.array([5, -3, 9], dtype=np.float32)]
    prior = build_prior("coexpression", shifted, GENES)
    pooled = np.concatenate([slide - slide.mean(axis=0) for slide in shifted])
    assert prior.embedding.shape == (3, 64)
    assert prior.embedding.dtype == np.float32
    assert prior.mask.all()
    np.testing.assert_allclose(prior.embedding @ prior.embedding.T, np.corrcoef(pooled.T), atol=1e-5)
    assert not prior.embedding[:, 3:].any()


def test_coexpression_of_many_genes_keeps_the_leading_components():
    generator = np.random.default_rng(1)
    programmes = generator.normal(size=(300, 4)) @ generator.normal(size=(4, 90))
    slide = (programmes + 0.1 * generator.normal(size=(300, 90))).astype(np.float32)
    prior = build_prior("coexpression", [slide], tuple(f"g{index}" for index in range(90)))
    assert prior.dim == 64
    np.testing.assert_allclose(np.linalg.norm(prior.embedding, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(prior.embedding @ prior.embedding.T, np.corrcoef(slide.T), atol=0.02)
    strongest = np.abs(prior.embedding).argmax(axis=0)
    assert (prior.embedding[strongest, np.arange(64)] > 0).mean() > 0.9


def test_coexpression_is_the_same_on_repeat_and_in_any_order_of_slides(expression):
    one, again, other = (build_prior("coexpression", e, GENES) for e in (expression, expression, expression[::-1]))
    assert one.embedding.tobytes() == again.embedding.tobytes()
    np.testing.assert_allclose(one.embedding, other.embedding, atol=1e-5)


def test_gene_constant_within_every_slide_is_masked(expression):
    for level, slide in enumerate(expression):
        slide[:, 1] = level
    prior = build_prior("coexpression", expression, GENES)
    assert prior.mask.tolist() == [True, False, True]
    assert not prior.embedding[1].any()
    assert np.isfinite(prior.embedding).all()


def test_coexpression_refuses_what_does_not_fit(expression):
    with pytest.raises(DataError, match=r"slide 0: expected \(n_spots, 2\) expression, found \(40, 3\)"):
        build_prior("coexpression", expression, GENES[:2])
    with pytest.raises(DataError, match="at least one training slide"):
        build_prior("coexpression", [], GENES)
    expression[1][3, 2] = np.nan
    with pytest.raises(DataError, match="training slide 1: found a value that is not finite"):
        build_prior("coexpression", expression, GENES)


def test_unknown_prior_lists_the_nearest(expression):
    with pytest.raises(UnknownNameError, match="did you mean coexpression"):
        build_prior("coexpresion", expression, GENES)


def test_unknown_option_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"'\?missing=mask', found '\?missing=zero'"):
        from_file(save_npz(tmp_path / "p.npz"), option="?missing=zero")


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".tsv"])
def test_file_rows_are_put_in_panel_order(tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    if suffix == ".npz":
        save_npz(path)
    else:
        lines = ["gene,d0,d1", "C,0,1", "A,2,3", "B,4,5", "X,6,7"]
        path.write_text("\n".join(lines).replace(",", "\t" if suffix == ".tsv" else ",") + "\n")
    prior = from_file(path)
    np.testing.assert_array_equal(prior.embedding, [[2, 3], [4, 5], [0, 1]])
    assert prior.embedding.dtype == np.float32
    assert prior.mask.all()
    vectors, mask = prior.of("any slide", 9)
    assert vectors is prior.embedding
    assert mask is prior.mask


def test_gene_named_na_is_a_gene(tmp_path):
    (tmp_path / "p.csv").write_text("gene,d\nNA,1\nNAN,2\n")
    np.testing.assert_array_equal(from_file(tmp_path / "p.csv", genes=("NAN", "NA")).embedding, [[2], [1]])


def test_missing_genes_are_counted_and_named(tmp_path):
    path = save_npz(tmp_path / "p.npz", ("B",))
    with pytest.raises(DataError, match=r"3 panel genes, 2 are missing \(A, C\); append '\?missing=mask'"):
        from_file(path)
    prior = from_file(path, option="?missing=mask")
    assert prior.mask.tolist() == [False, True, False]
    np.testing.assert_array_equal(prior.embedding, [[0, 0], [0, 1], [0, 0]])


def test_file_without_any_panel_gene_is_refused_even_when_masking(tmp_path):
    path = save_npz(tmp_path / "p.npz", ("ENSG1", "ENSG2"))
    with pytest.raises(DataError, match=r"found none among 2 rows \(ENSG1, ENSG2\); check that both use gene symbols"):
        from_file(path, option="?missing=mask")


def test_repeated_gene_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"each gene once, found A repeated"):
        from_file(save_npz(tmp_path / "p.npz", ("A", "B", "C", "A")))


def test_value_that_is_not_finite_is_refused(tmp_path):
    path = save_npz(tmp_path / "p.npz", GENES, np.array([[0, 1], [np.nan, 1], [2, 3]]))
    with pytest.raises(DataError, match=r"p\.npz: .* row of 'B' \(1 rows"):
        from_file(path)


@pytest.mark.parametrize("embedding", [np.zeros((2, 4)), np.zeros(3), np.zeros((3, 0))])
def test_embedding_of_the_wrong_shape_is_refused(tmp_path, embedding):
    path = save_npz(tmp_path / "p.npz", GENES, embedding)
    with pytest.raises(DataError, match=r"expected 'genes' \(rows,\) and 'embedding' \(rows, d\), found \(3,\)"):
        from_file(path)


def test_npz_without_the_two_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "p.npz", genes=np.array(GENES))
    with pytest.raises(DataError, match=r"p\.npz: expected arrays 'genes' and 'embedding'"):
        from_file(tmp_path / "p.npz")


def test_truncated_npz_is_refused(tmp_path):
    path = save_npz(tmp_path / "p.npz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"p\.npz: expected an \.npz of text and numbers"):
        from_file(path)


def test_npz_with_python_objects_is_refused(tmp_path):
    np.savez(tmp_path / "p.npz", genes=np.array(list(GENES), dtype=object), embedding=np.zeros((3, 2)))
    with pytest.raises(DataError, match=r"p\.npz: expected an \.npz of text and numbers"):
        from_file(tmp_path / "p.npz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("gene,d0,d1\nA,1,2\nB,1\nC,1,2\n", "row of 'B'"),
        ("gene,d0,d1\nA,1,2\nB,1,2,3\n", "line 3"),
        ("gene,d0\nA,1\nB,high\nC,1\n", "row of 'B'"),
        ("gene\td0\nA\t1\n", "separated by ','"),
        ("d0,d1\nA,1,2\nB,1,2\n", "expected a header"),
        ("", "expected a table with a header"),
        ("gene,d0\n", "found 2 columns and 0 rows"),
    ],
)
def test_broken_text_is_refused(tmp_path, content, message):
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(DataError, match=rf"p\.csv: .*{message}"):
        from_file(tmp_path / "p.csv")


def test_absent_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"absent\.npz, found no such file"):
        from_file(tmp_path / "absent.npz")
    with pytest.raises(DataError, match=r"as \.npz, .*found 'p\.pkl'"):
        from_file(tmp_path / "p.pkl")


@pytest.mark.parametrize("header", ["", "2 3\n"])
def test_gene2vec_text_with_and_without_its_first_line(tmp_path, header):
    (tmp_path / "gene2vec.txt").write_text(f"{header}TP53 1 2 3\nEGFR\t4 5 6 \n")
    names, table = read_embedding(tmp_path / "gene2vec.txt")
    assert names == ["TP53", "EGFR"]
    np.testing.assert_array_equal(table, [[1, 2, 3], [4, 5, 6]])


def test_json_vectors_plain_and_nested(tmp_path):
    (tmp_path / "genept.json").write_text('{"TP53": {"embeddings": [1, 2]}, "EGFR": [3, 4]}')
    names, table = read_embedding(tmp_path / "genept.json")
    assert names == ["TP53", "EGFR"]
    np.testing.assert_array_equal(table, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "TP53 1 2\nEGFR 1\n", "a gene and its numbers"),
        ("a.txt", "TP53 one two\n", "a gene and its numbers"),
        ("a.json", '{"TP53": [1, 2], "EGFR": [1]}', "as many numbers"),
        ("a.json", '{"TP53": 1}', "a list of numbers"),
        ("a.json", "[1]", "a dictionary with text keys"),
    ],
)
def test_broken_text_and_json_vectors_say_so(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_embedding(tmp_path / name)
