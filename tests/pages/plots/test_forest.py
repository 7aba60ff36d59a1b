"""A forest plot stands where the records say."""

import pytest

from stbench.errors import UserError
from stbench.pages.plots.forest import forest, reach
from stbench.pages.plots.material import NotPossibleError

from ..test_protocol import PATIENTS, board, everywhere, record


def drawn(axes):
    """Label to where its marker stands and its bar reaches."""
    names = [label.get_text() for label in axes.get_yticklabels()]
    at = {}
    for line in axes.lines:
        xs, ys = line.get_xdata(), line.get_ydata()
        if len(xs) == 2 and ys[0] == ys[1]:
            at.setdefault(names[int(ys[0])], {})["bar"] = tuple(xs)
        elif len(xs) == 1:
            at.setdefault(names[int(ys[0])], {})["mean"] = xs[0]
    return at


def verticals(axes):
    return {line.get_label().partition(":")[0]: line.get_xdata()[0] for line in axes.lines if ":" in line.get_label()}


def test_rows_intervals_control_and_ceiling():
    found = board(
        *everywhere("x", 0.5, 0.02), *everywhere("ridge", 0.3, kind="control"),
        *everywhere("mean", 0.1, kind="control"), *everywhere("ceiling-count-split", 0.9, kind="ceiling"),
    )  # fmt: skip
    (axes,) = forest(found).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["ceiling-count-split", "x", "ridge", "mean"]
    assert axes.yaxis_inverted()
    for line in found.lines:
        over = line.numbers["log1p"]["pcc"].over
        at = drawn(axes)[line.label]
        assert at["mean"] == pytest.approx(over.mean)
        assert at["bar"] == pytest.approx((over.mean - over.half, over.mean + over.half))
    means = {line.label: line.mean("log1p") for line in found.lines}
    assert verticals(axes) == {"best control": means["ridge"], "ceiling": means["ceiling-count-split"]}


def test_few_patients_have_a_range_and_a_reason():
    found = board(*everywhere("x", 0.5, patients=PATIENTS[:3]))
    figure = forest(found)
    over = found.lines[0].numbers["log1p"]["pcc"].over
    assert over.half is None
    assert drawn(figure.axes[0])["x"]["bar"] == reach(over) == pytest.approx((0.4, 0.48))
    said = figure.get_supxlabel().replace("\n", " ")
    assert said.endswith("from the lowest to the highest patient; no interval from 3 patients, at least 4 are needed.")


def test_scales_stand_side_by_side():
    both = [*everywhere("x", 0.5), *everywhere("x", 0.4, scale="cp10k-log1p"), *everywhere("y", 0.2)]
    both += [*everywhere("mean", 0.2, kind="control"), *everywhere("mean", 0.1, kind="control", scale="cp10k-log1p")]
    first, second = forest(board(*both)).axes
    assert (first.get_title(), second.get_title()) == ("log1p", "cp10k-log1p")
    assert set(drawn(second)) == {"x", "mean"}
    assert verticals(second) == {"best control on log1p": pytest.approx(0.1)}
    assert drawn(second)["x"]["mean"] == pytest.approx(0.4)


def test_nothing_to_draw():
    with pytest.raises(NotPossibleError, match="expected rows with pcc on"):
        forest(board(record("x", [None, None], "P0")))
    assert issubclass(NotPossibleError, UserError)
