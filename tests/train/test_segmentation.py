"""Composites, mean IoU, and the training of a network that gives every pixel a class."""

import json

import numpy as np
import pytest
import torch

from addersim.errors import InputError
from addersim.nn import load_checkpoint
from addersim.train import Recipe, data, load_dataset, train
from addersim.train.batches import batches, normalise
from addersim.train.composites import MOST_ITEMS, SIZE, THRESHOLD, composites
from addersim.train.datasets import COMPOSITES
from addersim.train.iou import areas, mean_iou, mean_of_areas
from addersim.train.recipe import Augmentation
from addersim.train.task import TASKS


def items(count=7, H=20, W=28, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, H, W), dtype=np.uint8) * (rng.random((count, H, W)) < 0.6)
    return images.astype(np.uint8), rng.integers(0, 10, count, dtype=np.uint8)


def by_definition(images, labels, count, seed):
    """Composites, canvas by canvas and pixel by pixel."""
    order = sorted(range(len(images)), key=lambda i: (labels[i], images[i].tobytes()))
    H, W = images.shape[1:]
    words = np.random.PCG64(seed).random_raw(count * (1 + 3 * MOST_ITEMS)).tolist()
    canvases, maps = np.zeros((count, SIZE, SIZE), np.uint8), np.zeros((count, SIZE, SIZE), np.uint8)
    for n in range(count):
        own = words[n * (1 + 3 * MOST_ITEMS) :]
        for layer in range(1 + own[0] % MOST_ITEMS):
            item, top, left = own[1 + 3 * layer : 4 + 3 * layer]
            i, top, left = order[item % len(images)], top % (SIZE - H + 1), left % (SIZE - W + 1)
            for y in range(H):
                for x in range(W):
                    pixel, at = images[i, y, x], (n, top + y, left + x)
                    if pixel > THRESHOLD:
                        canvases[at], maps[at] = pixel, labels[i] + 1
                    else:
                        canvases[at] = max(canvases[at], pixel)
    return canvases[:, None], maps


def test_composites_are_those_of_their_definition():
    got, expected = composites(*items(), 25, seed=3), by_definition(*items(), 25, seed=3)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_composites_depend_on_the_seed_and_not_on_the_order_of_the_items():
    images, labels = items(count=50)
    twice = np.concatenate([images, images[:5]]), np.concatenate([labels, labels[:5]])  # equal items among them
    shuffled = np.random.default_rng(1).permutation(len(twice[0]))
    first = composites(*twice, 40, seed=1)
    again = composites(twice[0][shuffled], twice[1][shuffled], 40, seed=1)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(composites(*twice, 40, seed=2)[0], first[0])
    for few, many in zip(composites(*twice, 10, seed=1), first, strict=True):
        np.testing.assert_array_equal(few, many[:10])  # a larger set begins with the smaller one


def test_bright_pixels_and_only_those_have_a_class():
    canvases, maps = composites(*items(), 200, seed=0)
    assert canvases.dtype == maps.dtype == np.uint8 and canvases.shape == (200, 1, 64, 64)
    np.testing.assert_array_equal(canvases[:, 0] > THRESHOLD, maps > 0)
    one = np.full((1, 28, 28), 255, np.uint8), np.zeros(1, np.uint8)
    covered = (composites(*one, 200, seed=0)[1] > 0).sum((1, 2))
    assert covered.min() == 28 * 28 < covered.max() <= MOST_ITEMS * 28 * 28


def test_items_that_do_not_fit_are_refused():
    for images in (np.zeros((0, 28, 28), np.uint8), np.zeros((1, 65, 28), np.uint8)):
        with pytest.raises(InputError, match="expected some up to 64 x 64"):
            composites(images, np.zeros(len(images), np.uint8), 1, seed=0)


def test_mean_iou_is_that_of_sets_of_pixels():
    rng = np.random.default_rng(0)
    predicted, labels = rng.integers(0, 5, (2, 3, 8, 9), dtype=np.uint8)
    predicted[predicted == 4], labels[labels == 3] = 0, 0  # class 3 in one of them only, class 4 in the other
    sets = [[set(np.flatnonzero(maps == k)) for maps in (predicted, labels)] for k in range(7)]
    expected = [len(a & b) / len(a | b) for a, b in sets if a | b]
    assert len(expected) == 5  # 5 and 6 are in neither
    assert mean_iou(predicted, labels, 7) == pytest.approx(np.mean(expected), rel=1e-12)
    parts = sum(areas(predicted[i], labels[i], 7) for i in range(3))
    assert mean_of_areas(parts) == mean_iou(predicted, labels, 7)
    assert mean_iou(labels, labels, 7) == 1 and mean_iou(predicted, labels, 7) == mean_iou(labels, predicted, 7)


def test_mean_iou_refuses_maps_that_do_not_match():
    with pytest.raises(InputError, match="expected one"):
        mean_iou(np.zeros((2, 3), int), np.zeros((2, 4), int), 2)
    with pytest.raises(InputError, match=r"0 \.\. 1"):
        mean_iou(np.zeros((2, 3), int), np.full((2, 3), 2), 2)


def test_the_figures_of_merit_of_the_tasks():
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 4, 3, 5), torch.randint(0, 4, (6, 3, 5), dtype=torch.uint8)
    task = TASKS["segmentation"]
    tally = task.tally(logits[:2], labels[:2]) + task.tally(logits[2:], labels[2:])
    expected = mean_iou(logits.argmax(1).numpy(), labels.numpy(), 4)
    assert task.percent(tally) == pytest.approx(100 * expected)
    right = (logits[..., 0, 0].argmax(1) == labels[:, 0, 0]).double().mean()
    task = TASKS["classification"]
    assert task.percent(task.tally(logits[..., 0, 0], labels[:, 0, 0])) == pytest.approx(100 * float(right))
    loss = -torch.log_softmax(logits, 1).gather(1, labels.long()[:, None]).mean()
    torch.testing.assert_close(TASKS["segmentation"].loss(logits, labels), loss)


def test_label_maps_move_with_their_images():
    x, maps = (torch.from_numpy(a) for a in composites(*items(), 40, seed=0))
    generator = torch.Generator().manual_seed(0)
    how, augmented = Augmentation(flip=True, shift_pixels=4), TASKS["segmentation"].augmented
    got = list(batches(x, maps, 8, how, COMPOSITES, generator, augmented))
    assert len(got) == 5
    for images, labels in got:
        pixels = normalise(torch.arange(256, dtype=torch.uint8)[:, None, None, None], COMPOSITES)
        np.testing.assert_array_equal(images[:, 0] > pixels[THRESHOLD, 0, 0, 0], labels > 0)
    moved = torch.cat([labels for _, labels in got])
    assert not any(torch.equal(a, b) for a in moved for b in maps)  # every one of these canvases was moved


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "TRAIN_CANVASES", 96)
    monkeypatch.setattr(data, "TEST_CANVASES", 12)
    for part, seed in (("train", 1), ("test", 2)):
        images, labels = items(30, 28, 28, seed)
        np.savez(tmp_path / f"{part}.npz", images=images, labels=labels)
    parts = {part: np.load(tmp_path / f"{part}.npz") for part in ("train", "test")}
    arrays = {f"{part}_{key}": parts[part][key] for part in parts for key in ("images", "labels")}
    np.savez(tmp_path / "fashion_mnist.npz", **arrays)
    return tmp_path


def test_the_data_set_is_made_of_training_and_of_test_images(folder):
    got = load_dataset("fashion_composites", folder)
    for part, seed, count in (("train", 1, 96), ("test", 2, 12)):
        expected = composites(*items(30, 28, 28, seed), count, seed)
        np.testing.assert_array_equal(getattr(got, f"{part}_images"), expected[0])
        np.testing.assert_array_equal(getattr(got, f"{part}_labels"), expected[1])


def recipe(**change):
    values = {"model": "segmenter_adder", "dataset": "fashion_composites", "epochs": 2, "batch_size": 16}
    return Recipe(**{**values, "batch_norm_images": 32, "augmentation": Augmentation(flip=True), **change})


def test_a_segmenter_learns_and_leaves_its_mean_iou(folder, tmp_path):
    result = train(recipe(), tmp_path / "run", folder, progress=False)
    assert result.metric == "mean_iou_percent" and result.history[1].loss < 0.7 * result.history[0].loss
    card = json.loads(result.card.read_text())
    assert card["mean_iou_percent"] == result.accuracy_percent and "accuracy_percent" not in card
    test = load_dataset("fashion_composites", folder)
    with torch.no_grad():
        logits = load_checkpoint("segmenter_adder", result.weights)(
            normalise(torch.from_numpy(test.test_images), COMPOSITES)
        )
    expected = mean_iou(logits.argmax(1).numpy(), test.test_labels, 11)
    assert result.accuracy_percent == pytest.approx(100 * expected)


def test_models_and_data_sets_of_different_tasks_do_not_meet(folder, tmp_path):
    with pytest.raises(InputError, match=r"detector_adder takes .* for detection, fashion_composites is .* segment"):
        train(recipe(model="detector_adder"), tmp_path / "run", folder, progress=False)
