"""The figure of a run: what it shows, that it stands alone, and that the same table gives the same bytes."""

from xml.etree import ElementTree

import pytest

from addersim.train.curves import curves_svg, panels, write_curves
from addersim.train.files import Epoch


def history(held_out=True, epochs=3):
    return [Epoch(i, 0.1 / (i + 1), 2.0 - i / 2, 50.0 + i, 48.0 + i if held_out else None, 9.5) for i in range(epochs)]


def test_every_column_is_drawn():
    drawn = {title: [curve.values for curve in curves] for title, curves in panels(history()).items()}
    assert drawn == {
        "loss": [[2.0, 1.5, 1.0]],
        "accuracy in %": [[50.0, 51.0, 52.0], [48.0, 49.0, 50.0]],
        "learning rate": [[0.1, 0.05, pytest.approx(0.1 / 3)]],
    }
    assert len(panels(history(held_out=False))["accuracy in %"]) == 1
    assert list(panels(history(), "mean IoU")) == ["loss", "mean IoU in %", "learning rate"]


@pytest.mark.parametrize("epochs", [1, 3, 60])
def test_the_figure_is_svg_that_stands_alone(epochs, tmp_path):
    file = tmp_path / "curves.svg"
    write_curves(file, history(epochs=epochs))
    text = file.read_text()
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.get("role") == "img"
    words = [element.text for element in root.iter() if element.text and element.text.strip()]
    assert {"loss", "accuracy in %", "learning rate", "epoch", "training images", "held-out images"} <= set(words)
    assert text == curves_svg(history(epochs=epochs)) and [f.name for f in tmp_path.iterdir()] == ["curves.svg"]
    assert "http" not in text.replace("http://www.w3.org/", "")
