"""Training curves are the lines of the histories."""

import numpy as np
import pytest

from stbench.errors import DataError
from stbench.pages.plots.material import NotPossibleError
from stbench.pages.plots.training import histories, training
from stbench.training.history import History, read_history


@pytest.fixture
def material(at, tmp_path):
    material = at()
    history = History("pcc", tmp_path / "runs" / "generative")
    for update, score in ((10, 0.1), (20, 0.3), (30, 0.2)):
        history.saw(1 / update)
        history.evaluated(update, score, 1e-3, 1.0)
    history.write()
    return material


def test_lines_and_the_best_evaluation(material, tmp_path):
    rows = histories(material.runs)
    assert list(rows) == ["one-generative"]
    left, right = training(rows).axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[10, 0.1], [20, 0.05], [30, 1 / 30]], rtol=1e-5)
    np.testing.assert_allclose(right.lines[0].get_xydata(), [[10, 0.1], [20, 0.3], [30, 0.2]])
    np.testing.assert_allclose(right.lines[1].get_xydata(), [[20, 0.3]])
    assert right.get_ylabel() == "validation pcc"
    (tmp_path / "runs" / "generative" / "history.csv").unlink()
    with pytest.raises(NotPossibleError, match=r"expected history\.csv of a trained method"):
        histories(material.runs)


def test_of_losses_the_smallest_is_the_best(tmp_path, material):
    path = tmp_path / "runs" / "generative" / "history.csv"
    path.write_text(path.read_text().replace("validation_pcc", "validation_loss"))
    _, right = training(histories(material.runs)).axes
    np.testing.assert_allclose(right.lines[1].get_xydata(), [[10, 0.1]])


@pytest.mark.parametrize(
    "text", ["", "update,loss\n1,2\n", "a,b,validation_pcc,c,d\n", "a,b,validation_pcc,c,d\n1,2,x,4,5\n"]
)
def test_a_damaged_history(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(DataError, match="expected the history of a training in"):
        read_history(tmp_path)
