"""Two processes under torchrun: one model, half of every batch each, the result of one process."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from training import data_folder, recipe, train_cut_short

from addersim.errors import InputError
from addersim.nn import AdderConv2d, adaptive_rate, parameter_groups
from addersim.train import batches, load_dataset, train
from addersim.train.datasets import FASHION
from addersim.train.processes import Processes
from addersim.train.recipe import Augmentation
from addersim.train.run import start
from addersim.train.task import TASKS

RECIPE = """
model = "lenet5_adder"
dataset = "fashion_mnist"
epochs = 2
batch_size = 32
learning_rate = 0.01
eta = 0.1
augmentation = { flip = true, shift_pixels = 1 }
"""
# The command, with a small adder network that does not look at the batch, and every process's weights in a file.
COMMAND = """
import sys
import torch
import addersim.nn.models as models
import addersim.train.loop as loop

sys.path[:0] = TESTS
from test_processes import small

finish = loop._finish

def kept(run, folder, history, command):
    torch.save(run.model.state_dict(), folder / f"rank{run.processes.rank}.pt")
    return finish(run, folder, history, command)

loop._finish = kept
models.MODELS["lenet5_adder"] = small
from addersim.cli.app import main
main()
"""


class Watcher(nn.BatchNorm2d):
    """Keeps running statistics of what passes, and changes nothing."""

    def forward(self, x):
        super().forward(x.detach())
        return x


def small(classes):
    """Return a network with one adder layer, whose outputs do not depend on the other images of the batch."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=3),
        nn.Tanh(),
        AdderConv2d(4, 6, 3),
        Watcher(6),
        nn.GroupNorm(1, 6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 36, classes),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = data_folder(tmp_path_factory.mktemp("data"), 100, 30)
    (place / "r.toml").write_text(RECIPE)
    (place / "command.py").write_text(
        COMMAND.replace("TESTS", repr([str(place) for place in Path(__file__).parents[:2]]))
    )
    return place


def torchrun(folder, out, *options):
    arguments = ["train", str(folder / "r.toml"), "--out", str(out), "--data", str(folder), *options]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(folder / "command.py")]
    done = subprocess.run([sys.executable, *launch, *arguments], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done


def test_two_processes_give_the_result_of_one_and_resume(folder, tmp_path, monkeypatch):
    from addersim.train import read_recipe

    monkeypatch.setitem(sys.modules["addersim.nn.models"].MODELS, "lenet5_adder", small)
    chosen = read_recipe(folder / "r.toml")
    whole = train(chosen, tmp_path / "one", folder, progress=False)
    out = tmp_path / "two"
    train_cut_short(chosen, out, folder)
    done = torchrun(folder, out, "--resume", "--json")  # the second epoch in two processes
    first, second = (torch.load(out / f"rank{i}.pt", weights_only=True) for i in (0, 1))
    expected = torch.load(tmp_path / "one" / "checkpoint.pt", weights_only=True)
    for key, value in expected["state_dict"].items():
        assert torch.equal(first[key], second[key])
        if key.endswith("running_var"):  # a mean of the parts' variances is not the batch's
            continue
        torch.testing.assert_close(first[key], value, rtol=1e-4, atol=1e-5)
    history = torch.load(out / "checkpoint.pt", weights_only=True)["history"]
    assert history[1]["loss"] == pytest.approx(whole.history[1].loss, rel=1e-5)
    assert history[1]["train_percent"] == pytest.approx(whole.history[1].train_percent)
    assert done.stdout.count('"accuracy"') == 1  # one process talks
    assert {f.name for f in out.iterdir()} - {"rank0.pt", "rank1.pt"} == {f.name for f in whole.card.parent.iterdir()}


def test_parts_of_a_batch_are_disjoint_and_together_the_batch():
    x = torch.randint(0, 256, (20, 1, 28, 28), dtype=torch.uint8)
    how = Augmentation(flip=True, shift_pixels=2)

    def part(i, n):
        generator = torch.Generator().manual_seed(5)
        return list(
            batches.batches(x, torch.arange(20), 8, how, FASHION, generator, TASKS["classification"].augmented, (i, n))
        )

    for whole, even, odd in zip(part(0, 1), part(0, 2), part(1, 2), strict=True):
        for i in (0, 1):
            assert torch.equal(torch.stack([even[i], odd[i]], 1).flatten(0, 1), whole[i])


def test_rescaling_needs_the_averaged_gradient():
    """The mean of rescaled halves is not the rescaled mean: why averages come first."""
    torch.manual_seed(0)
    layer, x = AdderConv2d(2, 3, 3, bias=False), torch.randn(8, 2, 5, 5)
    optimiser = torch.optim.SGD(parameter_groups(layer, 0.2), lr=0.0)
    adaptive_rate(optimiser)

    def gradient(images):
        layer.weight.grad = None
        (layer(images) + 20).square().mean().backward()
        return layer.weight.grad.clone()

    def rescaled(grad):
        layer.weight.grad = grad.clone()
        optimiser.step()
        return layer.weight.grad

    whole, halves = gradient(x), [gradient(x[i::2]) for i in (0, 1)]
    torch.testing.assert_close(sum(halves) / 2, whole)
    torch.testing.assert_close(rescaled(sum(halves) / 2), rescaled(whole))
    assert not torch.allclose(sum(map(rescaled, halves)) / 2, rescaled(whole), rtol=1e-3)


def test_a_batch_has_to_divide(folder):
    with pytest.raises(InputError, match="batches of 33 images do not divide into 2 processes"):
        start(recipe(batch_size=33), load_dataset("fashion_mnist", folder), Processes(0, 2))


def test_one_process_averages_nothing():
    tensor = torch.randn(3)
    kept = tensor.clone()
    Processes().average([tensor])
    assert torch.equal(tensor, kept) and Processes().first and not Processes(1, 2).first
