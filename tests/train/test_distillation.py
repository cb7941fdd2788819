"""Teachers: losses against expressions in float64, what learns and what stays, resuming, teachers that do not fit."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from training import data_folder, recipe, train_cut_short, trained

from addersim.errors import InputError
from addersim.nn import AdderConv2d, AdderLinear, build_model
from addersim.nn.catalogue import model_card
from addersim.train import read_recipe, train
from addersim.train.datasets import FASHION
from addersim.train.distillation import (
    BlockDistiller,
    KernelDistiller,
    LogitsDistiller,
    build_distiller,
    check_blocks,
    kernel,
)
from addersim.train.processes import Processes
from addersim.train.qat import IntegerModule
from addersim.train.recipe import Member, Teacher
from addersim.train.run import start

SHIPPED = "lenet5_conv-fashion_mnist"
BASE = 'model = "lenet5_adder"\ndataset = "fashion_mnist"\nepochs = 3\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return data_folder(tmp_path_factory.mktemp("data"), 128, 40)


def batch(generator, count=6):
    return torch.randn(count, 1, 28, 28, generator=generator).double(), torch.arange(count) % 10


def expected_soft(logits, answers, labels, weight, temperature):
    """Hinton's weighted average, image by image."""
    total = 0.0
    for z, v, label in zip(logits, answers, labels, strict=True):
        p, q = (torch.exp(a / temperature) / torch.exp(a / temperature).sum() for a in (v, z))
        hard = -torch.log(torch.exp(z)[label] / torch.exp(z).sum())
        total += (1 - weight) * hard + weight * temperature**2 * (p * torch.log(p / q)).sum()
    return total / len(logits)


def test_logits_loss_is_hintons():
    how = Teacher(weights=SHIPPED, temperature=3.0, weight=0.7)
    student = build_model("lenet5_adder")
    distiller = build_distiller(recipe(teacher=how), FASHION, student).double()
    student.double().train()
    images, labels = batch(torch.Generator().manual_seed(0))
    logits = student(images)
    with torch.no_grad():
        answers = distiller.teacher(images)
    torch.testing.assert_close(
        distiller(images, logits, labels), expected_soft(logits, answers, labels, 0.7, 3.0), rtol=1e-12, atol=1e-12
    )
    assert not distiller.teacher.training and not any(p.requires_grad for p in distiller.parameters())


def test_answers_of_an_ensemble_are_the_mean_of_its_members():
    torch.manual_seed(3)
    members = [build_model(name).double().eval() for name in ("lenet5_adder", "lenet5_conv", "lenet5_conv")]
    how = Teacher(weights=SHIPPED, temperature=2.5, weight=0.6)
    distiller = LogitsDistiller(how, members[0], members[1:])
    images, labels = batch(torch.Generator().manual_seed(4))
    student = build_model("lenet5_adder").double()
    logits = student(images)
    with torch.no_grad():
        mean = sum(torch.softmax(member(images) / 2.5, 1) for member in members) / 3
    expected = expected_soft(logits, 2.5 * mean.log(), labels, 0.6, 2.5)
    loss = distiller(images, logits, labels)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in distiller.parameters())
    alone = LogitsDistiller(how, members[1], [members[1]])  # a network and itself answer as it does
    torch.testing.assert_close(torch.softmax(alone.answers(images), 1), torch.softmax(members[1](images), 1))


def test_a_run_takes_its_ensemble_from_files_and_resumes(folder, tmp_path):
    torch.save(build_model("lenet5_conv").state_dict(), tmp_path / "other.pt")
    ensemble = (Member(model="lenet5_conv", weights=str(tmp_path / "other.pt")),)
    chosen = recipe(teacher=Teacher(weights=SHIPPED, ensemble=ensemble), epochs=2)
    whole = train(chosen, tmp_path / "whole", folder, progress=False)
    train_cut_short(chosen, tmp_path / "cut", folder)
    resumed = train(chosen, tmp_path / "cut", folder, resume=True, progress=False)
    alone = train(recipe(teacher=Teacher(weights=SHIPPED), epochs=2), tmp_path / "alone", folder, progress=False)
    first, second, third = (load_file(result.weights) for result in (whole, resumed, alone))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], third[key]) for key in first)


def distances(x, layer, p):
    """Sum of |patch - filter|^p, one filter and one pixel at a time: (N, K, pixels)."""
    w = layer.weight.flatten(1)
    if x.dim() == 4:
        x = F.unfold(x, layer.weight.shape[2:], padding=layer.padding, stride=layer.stride)
    x = x.reshape(len(x), w.shape[1], -1)
    return ((x[:, None] - w[None, :, :, None]).abs() ** p).sum(2)


def expected_kernel(d):
    mean = d.mean((0, 2), keepdim=True)
    spread = ((d - mean) ** 2).mean() ** 0.5
    return torch.exp(-(d - mean) / (2 * spread))


def inputs_of(model, names, images):
    """Return what enters each of the layers in one forward pass."""
    seen = {}
    hooks = [
        model.get_submodule(n).register_forward_pre_hook(lambda _m, x, n=n: seen.update({n: x[0].detach()}))
        for n in names
    ]
    logits = model(images)
    for hook in hooks:
        hook.remove()
    return seen, logits


def test_kernel_loss_is_the_expression_written_out():
    how = Teacher(method="pkkd", temperature=2.0, weight=0.25, feature_weight=3.0)
    student = build_model("lenet5_adder")
    distiller = build_distiller(recipe(teacher=how), FASHION, student).double()
    student.double().train()
    names = ("conv2", "fc1", "fc2")
    assert distiller.names == names and distiller.teacher.training
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for matrix in distiller.maps:  # not the identity, so that a transposed map would show
            matrix += 0.1 * torch.randn(matrix.shape, generator=generator)
    images, labels = batch(generator)
    ours, logits = inputs_of(student, names, images)
    loss = distiller(images, logits, labels)
    theirs, answers = inputs_of(distiller.teacher, names, images)
    errors = []
    for name, matrix in zip(names, distiller.maps, strict=True):
        a = expected_kernel(distances(ours[name], student.get_submodule(name), 1))
        b = expected_kernel(distances(theirs[name], distiller.teacher.get_submodule(name), 2))
        errors.append(((torch.einsum("nkp,kj->njp", a, matrix) - b) ** 2).mean())
    expected = expected_soft(logits, answers, labels, 0.25, 2.0) + F.cross_entropy(answers, labels) + sum(errors)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)


def test_gradients_go_where_they_should():
    """The student's parts do not move the teacher; student, teacher and maps all learn."""
    student = build_model("lenet5_adder").train()
    images, labels = batch(torch.Generator().manual_seed(2))
    images = images.float()
    grads = []
    for weight in (0.0, 1.0):  # the teacher's own term is the same
        how = Teacher(method="pkkd", weight=weight, feature_weight=weight)
        distiller = build_distiller(recipe(teacher=how), FASHION, student)
        distiller(images, student(images), labels).backward()
        grads.append([p.grad.clone() for p in distiller.teacher.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True)) and any(g.any() for g in grads[0])
    assert all(matrix.grad.any() for matrix in distiller.maps)
    with torch.no_grad():
        student(images)
    assert not distiller.ours  # a measurement leaves nothing behind


def test_kernel_does_not_see_what_a_channel_adds_or_the_layer_scales():
    d = torch.rand(4, 3, 5, 5, dtype=torch.float64)
    offset = torch.tensor([100.0, 2000.0, -7.0])[:, None, None]
    torch.testing.assert_close(kernel(d), kernel(3 * d + offset))
    assert kernel(torch.ones(2, 3)).tolist() == [[1.0] * 3] * 2  # constant distances: no division by zero
    d.requires_grad_()
    (kernel(d) * torch.rand(100, 3)).sum().backward()  # and nothing pulls a channel one way, or the layer apart
    torch.testing.assert_close(d.grad.sum((0, 2, 3)), torch.zeros(3, dtype=torch.float64))
    assert abs((d.grad * d.detach()).sum()) < 1e-12


def test_pairs_follow_names_not_the_order_of_the_forward_pass():
    student = build_model("resnet20_adder")
    from addersim.train.datasets import CIFAR10

    distiller = build_distiller(
        recipe(model="resnet20_adder", dataset="cifar10", teacher=Teacher(method="pkkd")), CIFAR10, student
    )
    images = torch.randn(2, 3, 32, 32)
    assert torch.isfinite(distiller(images, student(images), torch.tensor([1, 2])))
    sizes = [len(student.get_submodule(name).weight) for name in distiller.names]
    assert [len(matrix) for matrix in distiller.maps] == sizes and len(sizes) == 20


@pytest.mark.parametrize("groups", [1, 2])
def test_distances_of_grouped_and_biased_layers(groups):
    ours = nn.Sequential(AdderConv2d(4, 6, 3, stride=2, padding=1, groups=groups), nn.Flatten(), AdderLinear(96, 5))
    theirs = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups), nn.Flatten(), nn.Linear(96, 5))
    with torch.no_grad():
        ours[0].bias += 3.0
        ours[2].bias -= 1.0
    distiller = KernelDistiller(Teacher(method="pkkd"), theirs, ours)
    x = torch.randn(3, 4, 8, 8)
    inner = ours[0](x)
    theirs(x)
    for k in range(6):
        mine = x.chunk(groups, 1)[k // (6 // groups)]
        for kept, layer, p in ((distiller.ours, ours[0], 1), (distiller.theirs, theirs[0], 2)):
            patch = F.unfold(mine, 3, padding=1, stride=2)
            expected = ((patch - layer.weight[k].flatten()[None, :, None]).abs() ** p).sum(1)
            torch.testing.assert_close(kept["0"][:, k].flatten(1), expected, rtol=1e-4, atol=1e-4)
    ours[2](inner.flatten(1))
    torch.testing.assert_close(distiller.ours["2"], torch.cdist(inner.flatten(1), ours[2].weight, p=1))


def test_block_loss_is_the_expression_written_out():
    torch.manual_seed(0)
    images = torch.randn(4, 3, 32, 32)
    teacher, labels = trained(build_model("resnet20_adder")), torch.arange(4)
    teacher(images)
    teacher.eval()
    student = IntegerModule(copy.deepcopy(teacher), images.numpy(), bits=4).train()
    assert set(student.blocks) == {f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1, 2)}
    how = Teacher(method="blocks", weights="x", weight=1.0, temperature=1.0, feature_weight=0.3)
    distiller = BlockDistiller(how, teacher, student)
    logits = student(images)
    loss = distiller(images, logits, labels)
    x, errors = torch.relu(teacher.bn1(teacher.conv1(images))), 0.0
    for stage in (1, 2, 3):
        for i, block in enumerate(getattr(teacher, f"layer{stage}")):
            x = block(x)
            errors += ((student.outputs[f"layer{stage}.{i}"] - x) ** 2).mean() / x.var()
    expected = expected_soft(logits, teacher(images), labels, 1.0, 1.0) + 0.3 * errors
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(p.grad is not None for p in student.module.parameters())
    assert not any(p.requires_grad for p in distiller.parameters())


@pytest.mark.parametrize(
    ("student", "teacher", "words"),
    [
        ("lenet5_adder", "lenet5_adder", "the model has none"),
        ("resnet20_adder", "vgg_small_adder", "has no block layer1.0"),
    ],
)
def test_blocks_that_do_not_pair_are_named(student, teacher, words):
    images, float_module = torch.randn(2, *model_card(student).input_shape), trained(build_model(student))
    float_module(images)
    module = IntegerModule(float_module.eval(), images.numpy(), bits=4)
    with pytest.raises(InputError, match=words):
        check_blocks(module, build_model(teacher), f"teacher {teacher}")


@pytest.mark.parametrize("how", [Teacher(weights=SHIPPED), Teacher(method="pkkd")], ids=["logits", "pkkd"])
def test_resume_with_a_teacher_gives_the_same_result(how, folder, tmp_path):
    chosen = recipe(teacher=how, batch_norm_images=50)
    whole = train(chosen, tmp_path / "whole", folder, progress=False)
    train_cut_short(chosen, tmp_path / "cut", folder)
    resumed = train(chosen, tmp_path / "cut", folder, resume=True, progress=False)
    first, second = load_file(whole.weights), load_file(resumed.weights)
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    card = json.loads(resumed.card.read_text())
    assert card["recipe"]["teacher"]["method"] == how.method
    assert not any("teacher" in key or "maps" in key for key in first)  # the network gains no parameters


def test_the_teacher_learns_along_in_pkkd_and_stays_in_logits(folder, tmp_path):
    for how, moves in ((Teacher(method="pkkd", weights=SHIPPED), True), (Teacher(weights=SHIPPED), False)):
        out = tmp_path / how.method
        train(recipe(teacher=how, epochs=1), out, folder, progress=False)
        saved = torch.load(out / "checkpoint.pt", weights_only=True)["distiller"]
        shipped = build_distiller(recipe(teacher=how), FASHION, build_model("lenet5_adder")).teacher.state_dict()
        same = [torch.equal(value, saved[f"teacher.{key}"]) for key, value in shipped.items()]
        assert not any(same) if moves else all(same)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'teacher = "{SHIPPED}"', Teacher(weights=SHIPPED)),
        ('teacher = { weights = "x.pt", temperature = 2 }', Teacher(weights="x.pt", temperature=2.0)),
        ('teacher = { method = "pkkd" }', Teacher(method="pkkd")),
        (
            f'[teacher]\nweights = "{SHIPPED}"\n[[teacher.ensemble]]\nmodel = "lenet5_adder"\nweights = "x.pt"',
            Teacher(weights=SHIPPED, ensemble=(Member(model="lenet5_adder", weights="x.pt"),)),
        ),
        ('[teacher]\nmethod = "pkkd"\nmodel = "lenet5_conv"', Teacher(method="pkkd", model="lenet5_conv")),
    ],
)
def test_teacher_in_a_recipe(text, expected, tmp_path):
    (tmp_path / "r.toml").write_text(BASE + text)
    assert read_recipe(tmp_path / "r.toml").teacher == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[teacher]\nmetod = 1", "Teacher has no 'metod'; did you mean 'method'"),
        ('[teacher]\nmethod = "x"', "teacher.method"),
        ("[teacher]\nweight = 2", "teacher.weight"),
        ("teacher = 3", "teacher"),
        ('[teacher]\nmodel = "lenet5_con"', "did you mean 'lenet5_conv'"),
        ('[[teacher.ensemble]]\nmodel = "lenet5_con"\nweights = "x"', "did you mean 'lenet5_conv'"),
        ('[[teacher.ensemble]]\nmodel = "lenet5_conv"', "Member needs 'weights'"),
        ('[[teacher.ensemble]]\nmodell = "lenet5_conv"', "Member has no 'modell'; did you mean 'model'"),
        (
            '[teacher]\nmethod = "pkkd"\nensemble = [{ model = "lenet5_conv", weights = "x" }]',
            'teacher.ensemble: expected method "logits" or "blocks"',
        ),
    ],
)
def test_bad_teachers_in_a_recipe(text, words, tmp_path):
    (tmp_path / "r.toml").write_text(BASE + text)
    with pytest.raises(InputError) as caught:
        read_recipe(tmp_path / "r.toml")
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def five_classes(tmp_path_factory):
    file = tmp_path_factory.mktemp("five") / "five.pt"
    torch.save(build_model("lenet5_conv", 5).state_dict(), file)
    return file


@pytest.mark.parametrize(
    ("model", "teacher", "words"),
    [
        ("lenet5_adder", {}, "expected weights, a file or the name of shipped ones"),
        ("lenet5_adder", {"weights": "none.pt"}, "none.pt: no such file"),
        ("lenet5_adder", {"weights": "FIVE"}, "has 5 classes, fashion_mnist has 10"),
        ("lenet5_adder", {"weights": SHIPPED, "ensemble": [("lenet5_conv", "FIVE")]}, "five.pt has 5 classes"),
        ("lenet5_adder", {"weights": SHIPPED, "ensemble": [("resnet20_conv", "x")]}, "teacher resnet20_conv takes (3,"),
        ("lenet5_adder", {"model": "resnet20_conv", "weights": "x"}, "takes (3, 32, 32), fashion_mnist is (1, 28, 28)"),
        ("lenet5_adder", {"model": "lenet5_adder", "method": "pkkd"}, "expected a convolution conv2"),
        ("lenet5_conv", {"method": "pkkd"}, "no convolution twin"),
        ("lenet5_conv", {"model": "lenet5_conv", "method": "pkkd"}, "the model has none"),
    ],
)
def test_teachers_that_do_not_fit(model, teacher, words, folder, tmp_path, five_classes):
    found = {"FIVE": str(five_classes)}
    teacher = {key: found.get(value, value) if key == "weights" else value for key, value in teacher.items()}
    members = [Member(model=name, weights=found.get(weights, weights)) for name, weights in teacher.get("ensemble", ())]
    teacher["ensemble"] = tuple(members)
    with pytest.raises(InputError) as caught:
        train(recipe(model=model, teacher=Teacher(**teacher)), tmp_path / "out", folder, progress=False)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_layers_that_do_not_pair_are_named():
    """A teacher of another depth: names and shapes differ from some layer on."""
    from addersim.train.datasets import CIFAR10

    for model, teacher, words in (
        ("resnet32_adder", "resnet20_conv", "convolution layer1.3.conv1 that gives (16, 32, 32) .* it has none"),
        ("resnet20_adder", "resnet20_conv_a", r"layer2.0.downsample.0 that gives \(32, 16, 16\)"),
    ):
        how = Teacher(method="pkkd", model=teacher)
        words = words.replace("(16, 32, 32)", r"\(16, 32, 32\)")
        with pytest.raises(InputError, match=words):
            build_distiller(recipe(model=model, dataset="cifar10", teacher=how), CIFAR10, build_model(model))


def test_a_checkpoint_without_its_teacher_is_refused(folder, tmp_path):
    how = Teacher(method="pkkd")
    train(recipe(teacher=how, epochs=1), tmp_path, folder, progress=False)
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del content["distiller"]
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="does not fit the recipe's model"):
        train(recipe(teacher=how, epochs=1), tmp_path, folder, resume=True, progress=False)


def test_a_run_moves_teacher_and_maps_by_the_recipes_rates(folder):
    from addersim.train import load_dataset

    run = start(recipe(teacher=Teacher(method="pkkd")), load_dataset("fashion_mnist", folder), Processes())
    moved = {id(p) for p in run.parameters}
    assert moved == {id(p) for p in (*run.model.parameters(), *run.distiller.parameters())}
