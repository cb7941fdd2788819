"""The adaptive learning rate: when it acts, on what, and how it differs from the published code."""

import copy
import datetime
import socket

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from addersim.errors import InputError
from addersim.nn import AdderConv2d, AdderLinear, adaptive_rate, parameter_groups, rescale_in_backward


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False), AdderConv2d(2, 3, 3), nn.Flatten(), AdderLinear(12, 5)
    ).double()


def loss(model, seed=1):
    x = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return model(x).square().mean() / 100


def scaled(grad, eta=0.2):
    return grad * eta * grad.numel() ** 0.5 / grad.norm()


def test_groups_hold_every_parameter_once():
    model = network()
    model.append(model[3])  # a layer that is called twice
    ordinary, adder = parameter_groups(model, 0.1, weight_decay=0.0)
    assert adder == {"params": [model[1].weight, model[3].weight], "eta": 0.1, "weight_decay": 0.0}
    assert [id(p) for p in ordinary["params"]] == [id(p) for p in (model[0].weight, model[1].bias, model[3].bias)]
    assert "eta" not in parameter_groups(model, eta=None)[1]


def test_step_scales_accumulated_gradients_before_weight_decay_and_momentum():
    """Two steps of two backward calls each, written out: PyTorch's SGD on gradients that were scaled by hand."""
    model, by_hand = network(), network()
    optimiser = torch.optim.SGD(parameter_groups(model), lr=0.1, momentum=0.9, weight_decay=5e-4)
    adaptive_rate(optimiser)
    velocities = [torch.zeros_like(p) for p in by_hand.parameters()]
    for i in range(2):
        for net in (model, by_hand):
            net.zero_grad()
            (loss(net, i) / 2).backward()
            (loss(net, i + 10) / 2).backward()
        optimiser.step()
        with torch.no_grad():
            for (name, p), v in zip(by_hand.named_parameters(), velocities, strict=True):
                grad = scaled(p.grad) if name in ("1.weight", "3.weight") else p.grad
                v.mul_(0.9).add_(grad + 5e-4 * p)
                p -= 0.1 * v
    for a, b in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_zero_and_missing_gradients():
    layer = AdderLinear(3, 2, bias=False)
    optimiser = torch.optim.SGD(parameter_groups(layer), lr=0.1)
    adaptive_rate(optimiser)
    before = layer.weight.detach().clone()
    optimiser.step()
    layer.weight.grad = torch.zeros(2, 3)
    optimiser.step()
    assert torch.equal(layer.weight, before)


def test_eta_is_per_group_and_saved_with_the_optimiser():
    model = network()
    groups = [{"params": [model[1].weight], "eta": 0.2}, {"params": [model[3].weight], "eta": 0.05}]
    optimiser = torch.optim.SGD([*groups, {"params": [model[0].weight]}], lr=1.0)
    again = torch.optim.SGD([{**g, "eta": 9.0} for g in groups] + [{"params": [model[0].weight]}], lr=7.0)
    again.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    adaptive_rate(again)
    loss(model).backward()
    weights = model[0].weight, model[1].weight, model[3].weight
    before, grads = [w.detach().clone() for w in weights], [w.grad.clone() for w in weights]
    again.step()
    steps = [b - p for b, p in zip(before, weights, strict=True)]
    for moved, expected in zip(steps, (grads[0], scaled(grads[1], 0.2), scaled(grads[2], 0.05)), strict=True):
        torch.testing.assert_close(moved, expected)


def test_handle_removes_the_hook_and_groups_without_eta_are_refused():
    model = network()
    optimiser = torch.optim.SGD(parameter_groups(model), lr=1.0)
    adaptive_rate(optimiser).remove()
    loss(model).backward()
    before, grad = model[1].weight.detach().clone(), model[1].weight.grad.clone()
    optimiser.step()
    torch.testing.assert_close(model[1].weight, before - grad)
    with pytest.raises(InputError, match="no parameter group has an 'eta'"):
        adaptive_rate(torch.optim.SGD(model.parameters()))
    for eta in (0, float("nan")):
        for refuses in (parameter_groups, rescale_in_backward):
            with pytest.raises(InputError, match="eta must be a positive number"):
                refuses(model, eta)


def test_closures_are_refused():
    model = network()
    optimiser = torch.optim.SGD(parameter_groups(model), lr=1.0)
    adaptive_rate(optimiser)
    optimiser.step(closure=None)
    for call in (lambda: optimiser.step(lambda: 0.0), lambda: optimiser.step(closure=lambda: 0.0)):
        with pytest.raises(InputError, match="closure"):
            call()


def test_one_global_rate_100_times_as_high_is_a_group_option():
    """The ablation of the paper: no adaptive rate, but a schedule that is 100 times as high in adder layers."""
    model = network()
    optimiser = torch.optim.SGD(parameter_groups(model, eta=None, lr=1.0), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=4)
    for _ in range(2):
        model.zero_grad()
        loss(model).backward()
        before = [p.detach().clone() for p in model.parameters()]
        rate = optimiser.param_groups[0]["lr"]
        optimiser.step()
        for i, (p, was) in enumerate(zip(model.parameters(), before, strict=True)):
            factor = 100 if i in (1, 3) else 1
            torch.testing.assert_close(p.detach(), was - factor * rate * p.grad)
        schedule.step()


def published_step(model, seeds):
    """Accumulate gradients over backward calls, each rescaled as in huawei-noah/AdderNet adder.py, and step."""
    total = [torch.zeros_like(p) for p in model.parameters()]
    for seed in seeds:
        grads = torch.autograd.grad(loss(model, seed), list(model.parameters()))
        for i, (t, g) in enumerate(zip(total, grads, strict=True)):
            t += g / g.norm(p=2).clamp(min=1e-12) * g.numel() ** 0.5 / 5 if i in (1, 3) else g
    with torch.no_grad():
        for p, t in zip(model.parameters(), total, strict=True):
            p -= 0.1 * t


def step_of(model, seeds, hook):
    optimiser = torch.optim.SGD(parameter_groups(model), lr=0.1)
    adaptive_rate(optimiser) if hook == "step" else rescale_in_backward(model)
    for seed in seeds:
        loss(model, seed).backward()
    optimiser.step()


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_rescaling_in_backward_is_what_the_published_code_does(seeds):
    hooked, published, adaptive = network(), network(), network()
    step_of(hooked, seeds, "backward")
    step_of(adaptive, seeds, "step")
    published_step(published, seeds)
    for a, b in zip(hooked.parameters(), published.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    agree = [torch.allclose(a, b) for a, b in zip(hooked.parameters(), adaptive.parameters(), strict=True)]
    once = len(seeds) == 1  # with one backward call per step, the same step; else not in the adder weights
    assert agree == [True, once, True, once, True]


def train_one_step(rank, port, out):
    torch.set_num_threads(1)
    wait = datetime.timedelta(seconds=120)
    store = torch.distributed.TCPStore("127.0.0.1", port, 2, is_master=rank == 0, timeout=wait)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=wait)
    model = network()
    step(DistributedDataParallel(model), parameter_groups(model), lambda net: loss(net, rank))
    torch.save(model.state_dict(), out / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def step(model, groups, loss_of):
    optimiser = torch.optim.SGD(groups, lr=0.1)
    adaptive_rate(optimiser)
    loss_of(model).backward()
    optimiser.step()


def test_rescaling_comes_after_averaging_over_processes(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    other = torch.multiprocessing.get_context("spawn").Process(target=train_one_step, args=(1, port, tmp_path))
    other.start()
    train_one_step(0, port, tmp_path)
    other.join(120)
    assert other.exitcode == 0
    alone = network()
    step(alone, parameter_groups(alone), lambda net: (loss(net, 0) + loss(net, 1)) / 2)
    for rank in range(2):
        for key, value in torch.load(tmp_path / f"{rank}.pt", weights_only=True).items():
            torch.testing.assert_close(value, alone.state_dict()[key])
