"""The embedded sample, and folders of the user's."""

import numpy as np
import pytest
from PIL import Image

import addersim
from addersim.errors import InputError
from addersim.study.images import folder, normalise, sample


def test_the_embedded_sample():
    images, labels = sample("fashion_sample")
    assert images.shape == (2000, 1, 28, 28) and images.dtype == np.float32
    assert np.all(np.bincount(labels) > 150)
    assert abs(float(images.mean())) < 0.05 and abs(float(images.std()) - 1) < 0.05
    assert sample("fashion_calibration")[0].shape == (500, 1, 28, 28)
    with pytest.raises(InputError, match="did you mean 'fashion_sample'"):
        addersim.sample("fashion_samples")


def test_arrays_in_a_folder(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4), np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    np.save(tmp_path / "labels.npy", np.arange(5))
    images, labels = folder(tmp_path, mean=(0.5,), std=(0.25,), limit=3)
    np.testing.assert_allclose(images, (pixels[:3] / 255 - 0.5) / 0.25, rtol=1e-5, atol=1e-6)
    assert labels.tolist() == [0, 1, 2]
    np.save(tmp_path / "images.npy", pixels.astype(np.float32))
    np.testing.assert_array_equal(folder(tmp_path)[0], pixels)


def test_class_folders(tmp_path):
    for name, grey in (("cat", 10), ("ant", 200)):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 3), grey).save(tmp_path / name / "a.png")
    images, labels = folder(tmp_path)
    assert images.shape == (2, 1, 3, 4) and labels.tolist() == [0, 1]
    assert images[0, 0, 0, 0] == pytest.approx(200 / 255)  # classes in order of name: ant, cat
    Image.new("L", (5, 3), 1).save(tmp_path / "cat" / "b.png")
    with pytest.raises(InputError, match="different sizes"):
        folder(tmp_path)
    (tmp_path / "cat" / "b.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"b\.png: not a readable image"):
        folder(tmp_path)


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match=r"expected images\.npy and labels\.npy"):
        folder(tmp_path / "nowhere")
    (tmp_path / "class").mkdir()
    with pytest.raises(InputError, match=r"no \.png or \.jpg file"):
        folder(tmp_path)
    np.save(tmp_path / "images.npy", np.zeros((2, 1, 4, 4)))
    with pytest.raises(InputError, match=r"labels\.npy cannot be read"):
        folder(tmp_path)
    np.save(tmp_path / "labels.npy", np.zeros(3, int))
    with pytest.raises(InputError, match=r"images.npy has shape \(2, 1, 4, 4\)"):
        folder(tmp_path)


def test_arrays_that_would_unpickle_are_refused(tmp_path):
    np.save(tmp_path / "images.npy", np.array([{}], object), allow_pickle=True)
    np.save(tmp_path / "labels.npy", np.zeros(1, int))
    with pytest.raises(InputError, match="cannot be read"):
        folder(tmp_path)


def test_statistics_must_fit_the_channels():
    with pytest.raises(InputError, match="mean and std have 2 and 1 numbers for images of 3 channels"):
        normalise(np.zeros((1, 3, 2, 2), np.uint8), (0.1, 0.2), (1.0,))
