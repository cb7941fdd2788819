"""The training loop on a small synthetic set: batches, what a run leaves, how it goes on."""

import csv
import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training import data_folder, quarters, recipe, train_cut_short

from addersim.errors import InputError
from addersim.nn import build_model, load_checkpoint
from addersim.train import Recipe, batches, load_dataset, train
from addersim.train.batches import augment, normalise
from addersim.train.datasets import FASHION, dataset_card
from addersim.train.recipe import Augmentation
from addersim.train.task import TASKS


@pytest.fixture(scope="module")
def images():
    return quarters()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return data_folder(tmp_path_factory.mktemp("data"))


def test_mixtures_are_shares_of_two_images():
    flat = torch.arange(0, 200, 20, dtype=torch.uint8)[:, None, None, None].expand(10, 1, 4, 4)
    x = torch.cat([flat, 200 - flat], 1)  # channels that add up to 200
    mixed = batches.augment(x, Augmentation(mix=True), torch.Generator().manual_seed(0))
    assert mixed.dtype == torch.uint8 and mixed.float().var((2, 3)).max() == 0  # whole images
    assert (mixed.int().sum(1) - 200).abs().max() <= 1 and not torch.equal(mixed, x)
    share = torch.rand(10, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    assert ((mixed - (share * x)).amin((1, 2, 3)) >= -0.5).all()  # the other image is not negative


def test_augmentation_moves_and_mirrors_whole_images():
    x = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3).repeat(400, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    assert batches.augment(x, Augmentation(), generator) is x
    flipped = batches.augment(x, Augmentation(flip=True), generator)
    same = (flipped == x).flatten(1).all(1)
    assert torch.equal(flipped[~same], x[~same].flip(3)) and 150 < same.sum() < 250
    moved = batches.augment(x, Augmentation(shift_pixels=1), generator)
    padded = torch.nn.functional.pad(x[0, 0], (1, 1, 1, 1))
    expected = {tuple(padded[i : i + 3, j : j + 3].flatten().tolist()) for i in range(3) for j in range(3)}
    assert {tuple(image.flatten().tolist()) for image in moved} == expected


def test_batches_are_all_images_once_and_normalised():
    x = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 1, 28, 28).contiguous()
    labels, generator = torch.arange(10), torch.Generator().manual_seed(0)
    got = list(batches.batches(x, labels, 4, Augmentation(), FASHION, generator, TASKS["classification"].augmented))
    assert [len(y) for _, y in got] == [4, 4]
    for images, y in got:
        torch.testing.assert_close(images[:, 0, 0, 0], (y / 255 - 0.2860) / 0.3530)
    assert len(set(torch.cat([y for _, y in got]).tolist())) == 8
    assert (
        len(list(batches.batches(x, labels, 64, Augmentation(), FASHION, generator, TASKS["classification"].augmented)))
        == 1
    )


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return train(recipe(), out, folder, progress=False, command="addersim train r.toml")


def test_a_run_learns_and_leaves_its_files(finished, folder):
    assert finished.history[1].train_percent > 60  # four classes: chance is 25
    out = finished.weights.parent
    names = {
        "checkpoint.pt",
        "curves.svg",
        "epochs.csv",
        "lenet5_adder-fashion_mnist.json",
        "lenet5_adder-fashion_mnist.safetensors",
    }
    assert {f.name for f in out.iterdir()} == names
    with (out / "epochs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"] and float(rows[1]["loss"]) < float(rows[0]["loss"])
    card = json.loads(finished.card.read_text())
    assert card["accuracy_percent"] == finished.accuracy_percent and card["command"] == "addersim train r.toml"
    assert card["measured_on"].startswith("50 test images") and Recipe(**card["recipe"]) == recipe()
    model, test = load_checkpoint("lenet5_adder", finished.weights), load_dataset("fashion_mnist", folder)
    with torch.no_grad():
        logits = model(batches.normalise(torch.from_numpy(test.test_images), FASHION))
    right = (logits.argmax(1).numpy() == test.test_labels).mean()
    assert 100 * right == pytest.approx(finished.accuracy_percent)
    assert load_checkpoint("lenet5_adder", out / "checkpoint.pt") is not None


def test_resume_gives_the_same_result(finished, folder, tmp_path):
    train_cut_short(recipe(), tmp_path, folder)
    torch.manual_seed(99)  # the global generator must not matter
    resumed = train(recipe(), tmp_path, folder, resume=True, progress=False)
    first, second = load_file(finished.weights), load_file(resumed.weights)
    assert all(torch.equal(first[key], second[key]) for key in first) and first.keys() == second.keys()
    assert [row.loss for row in resumed.history] == [row.loss for row in finished.history]
    again = train(recipe(), tmp_path, folder, resume=True, progress=False)
    assert again.history == resumed.history and again.accuracy_percent == resumed.accuracy_percent


def test_resume_refuses_another_recipe_and_broken_files(finished, folder, tmp_path):
    with pytest.raises(InputError, match=r"made with learning_rate = 0.1, the recipe says 0.2"):
        train(recipe(learning_rate=0.2), finished.weights.parent, folder, resume=True, progress=False)
    torch.save({"state_dict": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="not a checkpoint"):
        train(recipe(), tmp_path, folder, resume=True, progress=False)
    for content in (b"", b"rubbish", (finished.weights.parent / "checkpoint.pt").read_bytes()[:999]):
        (tmp_path / "checkpoint.pt").write_bytes(content)
        with pytest.raises(InputError, match="not a readable file of tensors"):
            train(recipe(), tmp_path, folder, resume=True, progress=False)


def test_an_earlier_run_is_not_overwritten_unasked(folder, tmp_path, monkeypatch):
    from addersim.train import loop

    train(recipe(epochs=1), tmp_path, folder, progress=False)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(InputError, match=r"checkpoint\.pt: of an earlier run; expected --resume .*or --overwrite"):
        train(recipe(epochs=1), tmp_path, folder, progress=False)
    with pytest.raises(InputError, match="expected one of them"):
        train(recipe(epochs=1), tmp_path, folder, resume=True, overwrite=True, progress=False)
    with pytest.raises(InputError, match="no such folder"):
        train(recipe(epochs=1), tmp_path, folder / "none", overwrite=True, progress=False)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(recipe(epochs=1, seed=1), tmp_path, folder, overwrite=True, progress=False)
    assert not (tmp_path / "checkpoint.pt").exists()  # a resume must not find the run that was to be replaced


def test_held_out_images_are_measured_and_the_test_images_are_not(folder, tmp_path, capsys):
    result = train(recipe(epochs=1, validation_images=100, model="lenet5_conv"), tmp_path, folder)
    assert result.history[0].validation_percent == result.accuracy_percent
    assert json.loads(result.card.read_text())["measured_on"] == "100 validation images, float32"
    shown = capsys.readouterr().err
    row = result.history[0]
    assert "images/s" in shown and f"epoch 1/1: loss {row.loss:.4f}, {row.train_percent:.2f} %" in shown
    assert f"{row.validation_percent:.2f} % of the held-out ones" in shown


def test_batch_norms_are_re_estimated_on_images_augmented_as_in_training(images, folder, tmp_path):
    """The first norm's mean is that of the first layer over the augmented images, not over the images as they are."""
    how = Augmentation(flip=True, shift_pixels=4)
    settings = {
        "epochs": 1,
        "seed": 3,
        "model": "lenet5_conv",
        "batch_norm_images": 60,
        "augmentation": how.model_dump(),
    }
    result = train(recipe(**settings), tmp_path, folder, progress=False)
    model = build_model("lenet5_conv")
    model.load_state_dict(load_file(result.weights))
    convolution, norm = (
        next(m for m in model.modules() if isinstance(m, kind)) for kind in (nn.Conv2d, nn.BatchNorm2d)
    )
    plain = torch.from_numpy(images[0][:60])[:, None]
    changed = augment(plain, how, torch.Generator().manual_seed(3))
    means = [convolution(normalise(x, dataset_card("fashion_mnist"))).mean((0, 2, 3)) for x in (changed, plain)]
    torch.testing.assert_close(norm.running_mean, means[0].detach(), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(norm.running_mean, means[1].detach(), rtol=1e-2, atol=1e-3)


def test_runs_that_cannot_be(folder, tmp_path):
    with pytest.raises(InputError, match="resnet20_adder takes"):
        train(recipe(model="resnet20_adder"), tmp_path, folder, progress=False)
    with pytest.raises(InputError, match="leaves 0 images"):
        train(recipe(validation_images=300), tmp_path, folder, progress=False)
    with pytest.raises(InputError, match="the loss became nan in epoch 0"):
        train(recipe(learning_rate=1e38, model="lenet5_conv"), tmp_path, folder, progress=False)
    assert not (tmp_path / "checkpoint.pt").exists()
