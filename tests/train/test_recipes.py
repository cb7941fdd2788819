"""Recipes: defaults, errors in one line, the shipped ones, and the rate that they set."""

import math
from importlib.resources import files

import pytest
from training import recipe

from addersim.errors import InputError
from addersim.train import read_recipe
from addersim.train.loop import learning_rate
from addersim.train.recipe import Augmentation


def write(file, text):
    file.write_text(text, encoding="utf-8")
    return file


BASE = 'model = "lenet5_adder"\ndataset = "fashion_mnist"\nepochs = 3\n'


def test_recipe_is_read_with_the_published_defaults(tmp_path):
    got = read_recipe(write(tmp_path / "r.toml", BASE + "learning_rate = 1\naugmentation = { flip = true }\n"))
    assert (got.epochs, got.learning_rate, got.momentum, got.weight_decay, got.eta) == (
        3,
        1.0,
        0.9,
        5e-4,
        0.2,
    )
    assert got.augmentation == Augmentation(flip=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BASE + "epoch = 4", ("no 'epoch'", "did you mean 'epochs'")),
        (BASE + "augmentation = { flips = true }", ("Augmentation has no 'flips'", "did you mean 'flip'")),
        (BASE + 'seed = "1"', ("seed", "integer")),
        (BASE + "momentum = 1.5", ("momentum", "less than 1")),
        (BASE + "learning_rate = nan", ("learning_rate",)),
        (BASE + "threads = 1.5", ("threads",)),
        ("epochs = 3", ("Recipe needs 'model'",)),
        (BASE.replace("lenet5_adder", "lenet5"), ("unknown model 'lenet5'", "lenet5_")),
        (BASE.replace("fashion_mnist", "fashion"), ("unknown data set", "did you mean 'fashion_mnist'")),
        ("model = ", ("not a TOML file",)),
    ],
)
def test_recipe_errors_are_one_line_and_name_the_key(text, words, tmp_path):
    file = write(tmp_path / "r.toml", text)
    with pytest.raises(InputError) as caught:
        read_recipe(file)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_missing_recipe(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize("file", sorted(f.name for f in files("addersim.train").joinpath("recipes").iterdir()))
def test_shipped_recipes_are_valid_and_named_after_what_they_make(file):
    got = read_recipe(files("addersim.train").joinpath("recipes", file))
    bits = "" if got.quantization is None else f"-{got.quantization.bits}bit"
    assert file == f"{got.model}-{got.dataset}{bits}.toml"
    assert got.test_at_end or not got.validation_images  # the card of shipped weights says what the test images say


def test_learning_rate_is_a_cosine():
    got = [learning_rate(recipe(epochs=4, learning_rate=0.2), e) for e in range(4)]
    assert got == pytest.approx([0.1 * (1 + math.cos(math.pi * e / 4)) for e in range(4)])
