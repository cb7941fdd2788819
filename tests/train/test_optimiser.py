"""The optimiser of a recipe: two steps against PyTorch's own SGD on gradients written out, both kinds of adder rate."""

import math

import pytest
import torch
from training import recipe

from addersim.nn import AdderConv2d, AdderLinear, build_model
from addersim.train.optimiser import learning_rate, optimiser_of, set_learning_rate, set_weight_gradient


def steps(chosen, model):
    """Do two epochs of one step each on gradients drawn at random; return these gradients by name."""
    generator, optimiser, drawn = torch.Generator().manual_seed(0), optimiser_of(chosen, model, []), []
    for epoch in range(2):
        set_learning_rate(optimiser, learning_rate(chosen, epoch))
        drawn.append({name: torch.randn(p.shape, generator=generator) for name, p in model.named_parameters()})
        for name, parameter in model.named_parameters():
            parameter.grad = drawn[-1][name].clone()
        optimiser.step()
    return drawn


@pytest.mark.parametrize(("kind", "others"), [("adaptive", None), ("global", None), ("adaptive", 0.1)])
def test_two_steps_are_sgd_written_out(kind, others):
    model = build_model("lenet5_adder")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    chosen = recipe(learning_rate=0.02, momentum=0.8, weight_decay=0.01, adder_rate=kind, adder_rate_factor=50, eta=0.3)
    chosen = chosen.model_copy(update={"eta_others": others})
    drawn = steps(chosen, model)
    adders = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, AdderConv2d | AdderLinear)}
    assert adders == {"conv2.weight", "fc1.weight", "fc2.weight"}
    for name, parameter in model.named_parameters():
        w, velocity = before[name].double(), 0.0
        for epoch, gradients in enumerate(drawn):
            g, rate = gradients[name].double(), 0.01 * (1 + math.cos(math.pi * epoch / 2))
            if name in adders and kind == "adaptive":
                g = g * 0.3 * math.sqrt(g.numel()) / g.norm()
            elif name in adders:
                rate *= 50
            elif others is not None:
                g = g * others * math.sqrt(g.numel()) / g.norm()
            velocity = 0.8 * velocity + g + 0.01 * w
            w = w - rate * velocity
        torch.testing.assert_close(parameter.double(), w, rtol=1e-5, atol=1e-6)


def test_adam_takes_the_groups_rates():
    model, twin = build_model("lenet5_adder"), build_model("lenet5_adder")
    twin.load_state_dict(model.state_dict())
    chosen = recipe(learning_rate=0.02, momentum=0.8, weight_decay=0.0, adder_rate="global", adder_rate_factor=3)
    drawn = steps(chosen.model_copy(update={"optimiser": "adam"}), model)
    adders = {f"{n}.weight" for n, m in twin.named_modules() if isinstance(m, AdderConv2d | AdderLinear)}
    for name, parameter in twin.named_parameters():
        alone = torch.optim.Adam([parameter], 1.0, betas=(0.8, 0.99))
        for epoch, gradients in enumerate(drawn):
            alone.param_groups[0]["lr"] = learning_rate(chosen, epoch) * (3 if name in adders else 1)
            parameter.grad = gradients[name]
            alone.step()
        torch.testing.assert_close(model.get_parameter(name), parameter)


def test_the_rate_warms_up_and_follows_its_cosine():
    chosen = recipe(learning_rate=0.02, schedule="batch", warmup_epochs=0.5)
    cosine = [0.01 * (1 + math.cos(math.pi * epoch / 2)) for epoch in (0, 0.125, 0.5, 1.5)]
    expected = [part * rate for part, rate in zip((0, 0.25, 1, 1), cosine, strict=True)]
    assert [learning_rate(chosen, epoch) for epoch in (0, 0.125, 0.5, 1.5)] == pytest.approx(expected)


def test_the_sign_gradient_reaches_every_adder_layer():
    model = build_model("lenet5_adder")
    set_weight_gradient(recipe(weight_gradient="sign"), model)
    layers = (model.conv2, model.fc1, model.fc2)
    assert [layer.weight_gradient for layer in layers] == ["sign"] * 3
    assert not hasattr(model.conv1, "weight_gradient")
