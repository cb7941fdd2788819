"""Runs that stop: killed at any moment, a disk that is full, numbers that are no longer finite."""

import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training import data_folder, recipe

from addersim.errors import InputError
from addersim.nn import build_model
from addersim.train import loop, train
from addersim.train.files import Epoch, read_checkpoint, write_card, write_checkpoint
from addersim.train.finite import first_not_finite, first_not_finite_parameter
from addersim.train.processes import Processes

EPOCHS = 6
RECIPE = f"""
model = "lenet5_adder"
dataset = "fashion_mnist"
epochs = {EPOCHS}
batch_size = 32
eta = 0.1
seed = 3
validation_images = 40
test_at_end = true
batch_norm_images = 64
augmentation = {{ flip = true, shift_pixels = 2 }}
"""
# Kill this process while it writes its second checkpoint: half of the bytes are there.
HALFWAY = """
import os, signal

sync, count = os.fsync, 0

def halfway(handle):
    global count
    count += "/.checkpoint.pt." in os.readlink(f"/proc/self/fd/{handle}")
    if count == 2:
        os.ftruncate(handle, os.fstat(handle).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    sync(handle)

os.fsync = halfway
from addersim.cli.app import main
main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = data_folder(tmp_path_factory.mktemp("data"), 300, 50)
    (place / "r.toml").write_text(RECIPE)
    return place


def begin(folder, out, *code):
    """Start the command; with code, in a process that runs that instead of the module."""
    started = ["-c", *code] if code else ["-m", "addersim"]
    arguments = ["train", str(folder / "r.toml"), "--out", str(out), "--data", str(folder), "--resume", "--json"]
    return subprocess.Popen(
        [sys.executable, *started, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def kill_once_running(process, checkpoint, delay):
    """Kill the command so long after its first new checkpoint; it may have come to its end before."""
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
        time.sleep(0.005)
    time.sleep(delay)
    process.kill()
    process.wait()
    process.stderr.close()


def test_killed_at_any_moment_a_run_resumes_to_the_same_bits(folder, tmp_path):
    from addersim.train import read_recipe

    whole = train(read_recipe(folder / "r.toml"), tmp_path / "whole", folder, progress=False)
    out = tmp_path / "cut"
    kill_once_running(begin(folder, out), out / "checkpoint.pt", random.Random(os.getpid()).uniform(0, 0.1))
    done = torch.load(out / "checkpoint.pt", weights_only=True)["history"]
    assert 1 <= len(done) <= EPOCHS
    killed = begin(folder, out, HALFWAY)
    error = killed.communicate(timeout=100)[1]
    if len(done) < EPOCHS - 1:  # else there is no second checkpoint to be killed in
        assert killed.returncode == -signal.SIGKILL, error
        assert any(file.name.endswith(".part") for file in out.iterdir())
    last = begin(folder, out)
    error = last.communicate(timeout=100)[1]
    assert last.returncode == 0, error
    ours, theirs = (load_file(place / whole.weights.name) for place in (tmp_path / "whole", out))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    history = torch.load(out / "checkpoint.pt", weights_only=True)["history"]
    assert [(row["epoch"], row["loss"]) for row in history] == [(row.epoch, row.loss) for row in whole.history]
    assert {file.name for file in out.iterdir()} == {file.name for file in (tmp_path / "whole").iterdir()}


def test_a_full_disk_leaves_the_old_file(tmp_path):
    file, model = tmp_path / "checkpoint.pt", build_model("lenet5_conv")
    state = {"state_dict": model.state_dict(), "optimiser": {}}
    write_checkpoint(file, recipe(), state, [])
    before = file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))  # a file may not grow beyond that
    try:
        with pytest.raises(InputError, match=r"checkpoint\.pt: cannot be written: File too large"):
            write_checkpoint(file, recipe(seed=1), state, [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert file.read_bytes() == before and [f.name for f in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert read_checkpoint(file, recipe())[1] == []


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"card\.json: cannot be written: (Not a directory|File exists)"):
        write_card(tmp_path / "file" / "card.json", {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"history": [{"epoch": 0}]}, "its table of epochs is not one of this version"),
        ({"history": [vars(Epoch(1, 0.1, 1.0, 50.0, None, 1.0))]}, "its table of epochs has gaps"),
        ({"history": 5}, "its table of epochs is not one of this version"),
        ({"recipe": {"model": 1}}, "its recipe is not one of this version"),
        ({"optimiser": {}}, "does not fit the recipe's model"),
        ({"state_dict": {}}, "does not fit the recipe's model"),
        ({"state_dict": 7}, "does not fit the recipe's model"),
        ({"classes": ["a", "b"]}, "made with the classes"),
    ],
)
def test_checkpoints_that_others_left(change, words, folder, tmp_path):
    run = loop.start(recipe(), loop.load_dataset("fashion_mnist", folder), Processes())
    content = {**loop.state(run), "recipe": recipe().model_dump(), "history": [], **change}
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match=words) as caught:
        train(recipe(), tmp_path, folder, resume=True, progress=False)
    assert "\n" not in str(caught.value) and "checkpoint.pt" in str(caught.value)


def test_the_first_layer_that_is_not_finite():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)))
    x = torch.ones(3, 2)
    assert first_not_finite(model, x) is None and first_not_finite_parameter(model) is None
    for parameter, value, image, expected in (
        (model[2][0].weight, float("inf"), 1.0, "the weight of 2.0"),
        (model[2][1].bias, float("nan"), 1.0, "the bias of 2.1"),
        (model[0].weight, 1e38, 1e38, "the output of 0"),
    ):
        kept = parameter.data.clone()
        parameter.data.fill_(value)
        assert first_not_finite(model, image * x) == expected
        parameter.data.copy_(kept)
    norm = nn.BatchNorm1d(2)
    norm.running_var.fill_(float("inf"))
    assert first_not_finite_parameter(norm) == "the running_var of the network"
    assert not model[0]._forward_hooks


def poisoned(monkeypatch, at, poison):
    """Let ``poison(model)`` run before the batch of this number, counted over all epochs."""
    gradients, count = loop._gradients, iter(range(10**6))

    def instead(run, images, labels):
        if next(count) == at:
            poison(run.model)
        return gradients(run, images, labels)

    monkeypatch.setattr(loop, "_gradients", instead)
    return count


def test_nan_stops_at_its_batch_keeps_the_checkpoint_and_names_the_layer(folder, tmp_path, monkeypatch):
    train(recipe(epochs=3), tmp_path / "good", folder, progress=False)  # 9 batches an epoch
    count = poisoned(monkeypatch, 11, lambda model: model.fc1.weight.data[3, 3].fill_(float("nan")))
    with pytest.raises(InputError) as caught:
        train(recipe(epochs=3), tmp_path, folder, progress=False)
    assert str(caught.value) == (
        "the loss became nan in epoch 1: the weight of fc1 is the first that is not finite; lower learning_rate = 0.1; "
        "the checkpoint is that of epoch 0"
    )
    assert next(count) == 12  # no batch after it
    monkeypatch.undo()
    train(recipe(epochs=3), tmp_path, folder, resume=True, progress=False)
    good, resumed = (load_file(p / "lenet5_adder-fashion_mnist.safetensors") for p in (tmp_path / "good", tmp_path))
    assert all(torch.equal(good[key], resumed[key]) for key in good)


def test_infinity_after_the_last_step_of_an_epoch_is_not_kept(folder, tmp_path, monkeypatch):
    begin, count = loop.start, iter(range(100))

    def instead(*arguments):
        def spoil(*_):
            if next(count) == 17:  # the last step of the second epoch
                run.model.conv2.weight.data[0, 0, 0, 0] = float("inf")

        run = begin(*arguments)
        run.optimiser.register_step_post_hook(spoil)
        return run

    monkeypatch.setattr(loop, "start", instead)
    with pytest.raises(InputError, match="in epoch 1: the weight of conv2 is not finite after the last step"):
        train(recipe(epochs=3), tmp_path, folder, progress=False)
    assert len(read_checkpoint(tmp_path / "checkpoint.pt", recipe(epochs=3))[1]) == 1


def test_a_rate_that_is_too_high_names_a_layer(folder, tmp_path):
    with pytest.raises(InputError, match=r"the loss became nan in epoch 0: the \w+ of \w+ is the first .*lower learn"):
        train(recipe(learning_rate=1e38, model="lenet5_conv"), tmp_path, folder, progress=False)
    assert not (tmp_path / "checkpoint.pt").exists()
