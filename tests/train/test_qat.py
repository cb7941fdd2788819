"""Training on integers: the forward pass is the simulator, the backward pass the float layers' gradients."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from training import NETWORKS, data_folder, recipe, same_integers, shaken, train_cut_short, trained

import addersim
from addersim.errors import InputError
from addersim.network.node import EdgeFormat
from addersim.nn import AdderConv2d, AdderLinear, build_model
from addersim.nn.functional import adder_conv2d
from addersim.study.images import normalise
from addersim.train import read_recipe, train
from addersim.train.integer_gradients import Round
from addersim.train.qat import IntegerModule
from addersim.train.recipe import FineTuning
from addersim.weights.shipped import integer_networks, weights_file

START = "lenet5_adder-fashion_mnist"
CASES = [
    {"bits": 4},
    {"bits": 3, "correction": "least_squares", "learned_steps": True},
    {"bits": 6, "weight_bits": 4, "output_stage": "shift_add", "learned_steps": True},
    {"bits": 8, "output_stage": "shift_only", "correction": "mean"},
]


@pytest.mark.parametrize("settings", CASES, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_image_has_the_simulators_logits(name, settings):
    float_module, images = NETWORKS[name]()
    module = shaken(IntegerModule(float_module, images, **settings)).eval()
    exported, x = module.export(), torch.from_numpy(images)
    with torch.no_grad():
        plain = module(x)
    learning = module(x)
    assert learning.requires_grad
    for logits in (plain, learning.detach()):
        same_integers(logits, exported, images)
    same_integers(module.train()(x).detach(), module.executed, images)  # with the batch's own statistics


@pytest.mark.parametrize("name", ["resnet20_adder", "resnet20_conv_a", "segmenter_adder"])
def test_bundled_networks_run_and_learn(name):
    """Shortcuts with and without weights, padding, slicing, upsampling, concatenation."""
    torch.manual_seed(0)
    float_module = trained(build_model(name))
    images = torch.randn(4, *addersim.nn.catalogue.model_card(name).input_shape)
    float_module(images)
    module = IntegerModule(float_module.eval(), images.numpy(), bits=4)
    logits = module(images)
    same_integers(logits.detach(), module.executed, images)
    logits.square().mean().backward()
    for parameter, value in module.named_parameters():
        assert value.grad is not None and torch.isfinite(value.grad).all(), parameter


class Block(nn.Module):
    """An adder layer between a convolution and a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm0 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.adder, self.norm1 = AdderConv2d(4, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(6)
        self.fc = nn.Linear(6 * 4 * 4, 5)

    def forward(self, x):
        x = torch.relu(self.norm0(self.conv(x)))
        x = torch.relu(self.norm1(self.adder(x)))
        return self.fc(x.flatten(1))


def block():
    torch.manual_seed(9)
    module = trained(Block(), seed=9)  # no value so near a clamp that B_k's rounding decides on which side it is
    images = torch.randn(8, 2, 8, 8)
    module(images)
    return module.eval(), images


def through(x, rounded):
    """Return ``rounded`` with the gradient of ``x``."""
    return x + (rounded - x).detach()


def affine(norm, x):
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, eps=norm.eps)


def expected_gradients(module, images, qnet, target, training, signs=False):
    """The same network in float64: weights and edges replaced by what the integers stand for, straight through."""
    net = module.double()
    trace = addersim.simulate(qnet, images.numpy(), keep="*")
    edges = {n: torch.from_numpy(qnet.tensors[n].format.real(e)) for n, e in trace.edges.items()}
    forms = {name: tensor.format for name, tensor in qnet.tensors.items()}
    (narrow,) = qnet.node("adder").inputs

    def edge(v, name):
        low, high = forms[name].range
        return through(v.clamp(low, high), edges[name])

    def folded(layer, norm, source):
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps) if norm else torch.ones(len(layer.weight))
        w = layer.weight * gain.reshape(-1, *[1] * (layer.weight.dim() - 1)).double()
        codes = qnet.node(source).params["w_krsc"].astype(float)
        step = w.detach().flatten(1).abs().amax(1) / 127
        wide = codes.transpose(0, 3, 1, 2) if layer.weight.dim() == 4 else codes[:, 0, 0]
        return through(w, torch.from_numpy(np.ascontiguousarray(wide)) * step.reshape(-1, *[1] * (w.dim() - 1)))

    x = edges["input"]
    y = F.conv2d(x, folded(net.conv, net.norm0, "conv"), padding=1)
    gain = net.norm0.weight / torch.sqrt(net.norm0.running_var + net.norm0.eps)
    offset = net.norm0.bias + gain * (net.conv.bias - net.norm0.running_mean)
    x = edge(torch.relu(y + offset[:, None, None]), "conv")
    if narrow != "conv":
        x = edge(x, narrow)
    form = forms[narrow]
    w = net.adder.weight.clamp(*form.range)
    codes = qnet.node("adder").params["w_krsc"].transpose(0, 3, 1, 2).astype(float)
    w_codes = torch.from_numpy((codes - form.zero_point) * form.step)
    lost = (net.adder.weight - w).abs().sum((1, 2, 3)).detach()[:, None, None]
    if signs:  # what autograd makes of |x - w|
        windows = F.unfold(x, 3, padding=1, stride=2)[:, None]
        y = -(windows - through(w, w_codes).flatten(1)[:, :, None]).abs().sum(2).unflatten(2, (4, 4)) - lost
    else:
        y = adder_conv2d(x, through(w, w_codes), (2, 2), (1, 1)) - lost
    z = F.batch_norm(y, None, None, net.norm1.weight, net.norm1.bias, True) if training else affine(net.norm1, y)
    x = edge(torch.relu(z), "adder")
    logits = F.linear(x.flatten(1), folded(net.fc, None, "fc"), net.fc.bias)
    through(logits, edges["fc"]).mul(target).sum().backward()
    return {name: p.grad for name, p in net.named_parameters()}


@pytest.mark.parametrize("gradient", ["adder", "sign"])
@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_the_float_layers_at_the_integers_values(training, gradient):
    """Against PyTorch's own in float64; 16-bit multipliers keep the gains' rounding out of the comparison."""
    float_module, images = block()
    module = IntegerModule(float_module, images.numpy(), bits=8, multiplier_bits=16, gradient=gradient).train(training)
    target = torch.randn(8, 5, generator=torch.Generator().manual_seed(4))
    module(images).mul(target).sum().backward()
    ours = {name: p.grad.double() for name, p in module.module.named_parameters()}
    module.zero_grad()
    theirs = expected_gradients(module.module, images, module.executed, target.double(), training, gradient == "sign")
    assert ours.keys() == theirs.keys()
    for name, grad in theirs.items():
        scale = float(grad.abs().max())
        torch.testing.assert_close(ours[name], grad, rtol=0, atol=4e-3 * scale, msg=lambda m, n=name: f"{n}: {m}")


def test_weights_in_the_clamp_have_no_gradient():
    float_module, images = block()
    with torch.no_grad():
        float_module.adder.weight[0] += 100.0
        float_module.adder.weight[1] -= 100.0
        float_module.norm1.running_mean[:2] -= 100.0 * 36
    module = IntegerModule(float_module, images.numpy(), bits=4)
    module(images).square().sum().backward()
    grad = module.module.adder.weight.grad
    assert not grad[:2].any() and grad[2:].any()


def test_rounding_passes_inside_and_learns_the_step():
    """The step's gradient against the three cases of Esser et al., value by value."""
    form = EdgeFormat(3, False, 0.5, 1)
    r = torch.linspace(-3, 10, 53).reshape(1, 53).requires_grad_()
    codes = torch.from_numpy(np.clip(np.floor(r.detach().numpy() + 0.5), 1, 7))
    step = torch.tensor(form.step, requires_grad=True)
    gy = torch.linspace(1, 2, 53).reshape(1, 53)
    Round.apply(r, step, (codes - 1) * form.step, form, 1).backward(gy)
    inside = (r.detach() >= 1) & (r.detach() <= 7)
    assert torch.equal(r.grad, torch.where(inside, gy * form.step, 0))
    expected = 0.0
    for value, weight in zip(r.detach().flatten().tolist(), gy.flatten().tolist(), strict=True):
        v = value - 1  # v / s, with levels 0 to 6
        expected += weight * (0.0 if v < 0 else 6.0 if v > 6 else np.floor(v + 0.5) - v)
    assert step.grad.item() == pytest.approx(expected / np.sqrt(53 * 6), rel=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_running_statistics_make_training_compute_what_evaluation_does(name):
    float_module, images = NETWORKS[name]()
    module = IntegerModule(float_module, images, bits=4, statistics="running")
    before = module.export()
    module.centre(images[::-1].copy())
    same_integers(module.eval()(torch.from_numpy(images)).detach(), before, images)
    learning = shaken(module).train()(torch.from_numpy(images)).detach()
    assert torch.equal(learning, module.eval()(torch.from_numpy(images)).detach())


def test_fixed_statistics_stay():
    float_module, images = block()
    module = shaken(IntegerModule(float_module, images.numpy(), bits=8, statistics="fixed")).train()
    before = module.module.norm1.running_mean.clone(), module.module.norm1.running_var.clone()
    learning = module(images + 0.5).detach()
    assert torch.equal(learning, module.eval()(images + 0.5).detach())
    assert torch.equal(before[0], module.module.norm1.running_mean)
    assert torch.equal(before[1], module.module.norm1.running_var)


def test_running_statistics_move_by_a_fiftieth():
    (float_module, images), found = block(), {}
    for statistics in ("batch", "running"):
        module = IntegerModule(float_module, images.numpy(), bits=8, statistics=statistics).train()
        norm = module.module.norm1
        before = norm.running_mean.clone()
        module(images + 0.5)
        found[statistics] = norm.running_mean - before
        float_module, images = block()
    assert found["batch"].abs().max() > 0
    torch.testing.assert_close(found["running"], found["batch"] / 5, rtol=1e-3, atol=1e-6)


def test_linear_and_convolution_of_one_pixel_agree():
    class Flat(nn.Module):
        def __init__(self, layer, norm, flat):
            super().__init__()
            self.first, self.adder, self.norm, self.flat = nn.Conv2d(2, 4, 1), layer, norm, flat

        def forward(self, x):
            x = torch.relu(self.first(x))
            return self.norm(self.adder(x.flatten(1) if self.flat else x)).flatten(1)

    torch.manual_seed(0)
    vector, image = AdderLinear(4, 3, bias=False), AdderConv2d(4, 3, 1, bias=False)
    with torch.no_grad():
        image.weight.copy_(vector.weight[:, :, None, None])
    images, target, grads = torch.randn(6, 2, 1, 1), torch.randn(6, 3), []
    for layer, norm, flat in ((vector, nn.BatchNorm1d(3), True), (image, nn.BatchNorm2d(3), False)):
        torch.manual_seed(1)
        module = IntegerModule(Flat(layer, norm, flat).eval(), images.numpy(), bits=8)
        module(images).mul(target).sum().backward()  # that of squares is 0 behind a batch norm
        grads.append([p.grad.reshape(-1) for p in module.module.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_learned_steps_are_those_of_free_edges():
    float_module, images = NETWORKS["joined"]()
    module = IntegerModule(float_module, images, bits=4, learned_steps=True)
    module(torch.from_numpy(images)).square().sum().backward()
    assert module.steps
    assert all(step.grad is not None for step in module.steps.values())
    assert "first" in module.steps and "plain" in module.steps
    assert not {"input", "last", "other"} & set(module.steps)  # the ends; a concatenation's edges have one step
    with torch.no_grad():
        module.steps["plain"].add_(np.log(1.5))
    new, old = (m.tensors["plain"].format.step for m in (module.export(), module.executed))
    assert new == pytest.approx(1.5 * old)
    with torch.no_grad():
        module.steps["plain"].fill_(np.inf)
    with pytest.raises(InputError, match="not a positive number"):
        module.export()


def test_what_cannot_be_trained_is_refused():
    class Loose(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(2, 2, 1)

        def forward(self, x):
            return F.conv2d(x, self.first.weight * 2)

    images = np.random.default_rng(0).normal(size=(4, 2, 3, 3)).astype(np.float32)
    with pytest.raises(InputError, match="not that of a module of that name"):
        IntegerModule(Loose(), images)
    float_module, good = block()
    with pytest.raises(InputError, match="cannot trace Block"):
        IntegerModule(float_module, np.zeros((4, 2, 8, 8), np.float32)[:, :, :4], bits=4)
    with pytest.raises(InputError, match="all zero"):
        IntegerModule(float_module, np.zeros((4, 2, 8, 8), np.float32), bits=4)
    with pytest.raises(InputError, match="holds NaN"):
        IntegerModule(float_module, np.full((4, 2, 8, 8), np.nan, np.float32), bits=4)
    with pytest.raises(InputError, match="bits = 1: input should be greater"):
        IntegerModule(float_module, good.numpy(), bits=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return data_folder(tmp_path_factory.mktemp("data"), 96, 40)


def tuning(**change):
    how = FineTuning(bits=4, calibration_images=16, learned_steps=True)
    values = {"start": START, "quantization": how, "schedule": "batch", "learning_rate": 1e-3, "eta": 1.0}
    return recipe(**{**values, **change})


def test_a_run_writes_the_network_that_it_measured(folder, tmp_path):
    teacher = {"weights": START, "model": "lenet5_adder"}
    chosen = read_recipe_of(tmp_path, f'teacher = {{ weights = "{START}", model = "lenet5_adder" }}')
    assert chosen.teacher.weights == teacher["weights"] and chosen.quantization.bits == 4
    result = train(chosen, tmp_path / "out", folder, progress=False)
    assert result.weights.name == "lenet5_adder-fashion_mnist-4bit.safetensors"
    qnet = addersim.QuantizedNetwork.load(result.weights)
    assert qnet.node("conv2").datapath.x.bits == 4
    with np.load(folder / "fashion_mnist.npz") as data:
        images, labels = data["test_images"][:, None], data["test_labels"]
    card = json.loads(result.card.read_text())
    pixels = normalise(images, card["mean"], card["std"])
    right = np.mean(addersim.simulate(qnet, pixels).logits_int.argmax(1) == labels)
    assert card["accuracy_percent"] == pytest.approx(100 * right) == pytest.approx(result.accuracy_percent)
    assert card["measured_on"] == "40 test images, integers"
    floats = load_file(tmp_path / "out" / "lenet5_adder-fashion_mnist.safetensors")
    assert set(floats) == {k for k in build_model("lenet5_adder").state_dict() if "num_batches" not in k}
    assert result.history[-1].loss < result.history[0].loss


def read_recipe_of(tmp_path, more=""):
    file = tmp_path / "recipe.toml"
    text = (
        'model = "lenet5_adder"\ndataset = "fashion_mnist"\nepochs = 3\nbatch_size = 32\nlearning_rate = 1e-3\n'
        f'schedule = "batch"\nstart = "{START}"\n{more}\n'
        '[quantization]\nbits = 4\ncorrection = "least_squares"\ncalibration_images = 16\n'
    )
    file.write_text(text)
    return read_recipe(file)


def test_the_shipped_networks_of_4_bits_are_what_their_cards_say():
    file = weights_file("lenet5_adder-fashion_mnist-4bit")
    qnet, card = addersim.QuantizedNetwork.load(file), json.loads(file.with_suffix(".json").read_text())
    images, labels = addersim.sample("fashion_sample")  # a fifth of the test images
    right = 100 * np.mean(addersim.simulate(qnet, images).logits_int.argmax(1) == labels)
    assert abs(right - card["accuracy_percent"]) < 2 and card["measured_on"] == "10000 test images, integers"
    assert qnet.node("fc1").datapath.x.bits == qnet.node("fc1").datapath.w.bits == 4


@pytest.mark.parametrize("name", integer_networks())
def test_shipped_networks_load_by_name_and_are_as_wide_as_they_say(name, tmp_path):
    qnet = addersim.QuantizedNetwork.load(name)
    *_, bits = name.removesuffix("bit").split("-")
    inner = [node.datapath for node in qnet.nodes if node.datapath is not None][1:-1]
    assert {path.w.bits for path in inner} == {int(bits)}
    (tmp_path / "study.toml").write_text(f'[network]\nfile = "{name}"\n', encoding="utf-8")
    assert addersim.Study.read(tmp_path / "study.toml").network.file == str(weights_file(name))


def test_resume_gives_the_same_network(folder, tmp_path):
    chosen = tuning()
    whole = train(chosen, tmp_path / "whole", folder, progress=False)
    train_cut_short(chosen, tmp_path / "cut", folder)
    resumed = train(chosen, tmp_path / "cut", folder, resume=True, progress=False)
    assert whole.weights.read_bytes() == resumed.weights.read_bytes()
    assert [replace(row, seconds=0) for row in whole.history] == [replace(row, seconds=0) for row in resumed.history]


def test_a_start_without_integers_goes_on_from_the_weights(folder, tmp_path):
    result = train(tuning(quantization=None, learning_rate=1e-9, epochs=1), tmp_path, folder, progress=False)
    shipped = load_file(weights_file(START))
    made = load_file(result.weights)
    assert torch.allclose(made["fc3.weight"], shipped["fc3.weight"], atol=1e-5)


def test_calibration_images_that_do_not_fit_are_named():
    module = nn.Sequential(AdderConv2d(3, 4, 3), nn.ReLU())
    with pytest.raises(InputError, match=r"calibration images \(1, 8, 8\): "):
        IntegerModule(module, np.zeros((4, 1, 8, 8), np.float32), bits=4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"start": None}, "expected start"),
        ({"batch_norm_images": 10}, "batch norms keep their statistics"),
        ({"weight_gradient": "sign"}, "weight_gradient does not go with quantization"),
        ({"precision": "bfloat16"}, "precision does not go with quantization"),
        ({"teacher": {"method": "pkkd"}}, r"teacher.method does not go with quantization"),
        ({"optimiser": "adam"}, "scales gradients itself"),
        ({"schedule": "epoch", "warmup_epochs": 1}, 'expected schedule = "batch"'),
        ({"augmentation": {"mix": True}}, "leaves no labels"),
        ({"quantization": None, "teacher": {"method": "blocks"}}, "is for networks on integers"),
    ],
)
def test_recipes_that_cannot_be(change, words):
    with pytest.raises(ValueError, match=words):
        tuning(**change)
