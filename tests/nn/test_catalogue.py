"""Every model of the catalogue: built, copied, exported, compiled."""

import copy
import subprocess
import sys

import pytest
import torch

from addersim.errors import InputError
from addersim.nn import MODELS, AdderConv2d, build_model
from addersim.nn.catalogue import CATALOGUE


@pytest.mark.parametrize("name", MODELS)
def test_models_on_the_meta_device_copy_and_state(name):
    model, card = build_model(name), CATALOGUE[name]
    with torch.device("meta"):
        shape = build_model(name)(torch.empty(2, *card.input_shape)).shape
    (C, H, W), locations = card.input_shape, 32 * 32 + 16 * 16 + 8 * 8
    expected = {"segmentation": (card.classes, H, W), "detection": ((card.classes + 5) * locations,)}
    assert shape == (2, *expected.get(card.task, (card.classes,)))
    model.eval()
    twin = copy.deepcopy(model)
    x = torch.randn(2, C, min(H, 64), min(W, 64))
    with torch.no_grad():
        assert torch.equal(twin(x), model(x))
    fresh = build_model(name).eval()
    fresh.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(fresh(x), model(x))


def test_catalogue_and_builders_agree_and_list_without_torch():
    assert list(MODELS) == list(CATALOGUE)
    code = "import sys, addersim.nn.catalogue; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(InputError, match="did you mean 'resnet20_adder'"):
        build_model("resnet20_ader")


def test_adder_layers_are_where_they_belong():
    def kinds(name):
        return [type(m).__name__ for m in build_model(name).modules() if hasattr(m, "weight") and m.weight.dim() > 1]

    assert kinds("lenet5_adder") == ["Conv2d", "AdderConv2d", "AdderLinear", "AdderLinear", "Linear"]
    assert kinds("lenet5_conv") == ["Conv2d", "Conv2d", "Linear", "Linear", "Linear"]
    assert kinds("resnet20_adder") == ["Conv2d"] + ["AdderConv2d"] * 20 + ["Conv2d"]
    assert len(kinds("resnet20_conv")) == 22 and len(kinds("resnet20_conv_a")) == 20
    assert len(kinds("resnet32_adder")) == 34


@pytest.mark.parametrize("name", ["lenet5_adder", "resnet20_adder"])
def test_export_keeps_the_operations(name):
    model = build_model(name).eval()
    x = torch.randn(2, *CATALOGUE[name].input_shape)
    program = torch.export.export(model, (x,))
    targets = [node.target for node in program.graph.nodes]
    adders = sum(isinstance(m, AdderConv2d) for m in model.modules())
    assert targets.count(torch.ops.addersim.adder_conv2d.default) == adders
    assert targets.count(torch.ops.addersim.adder_linear.default) == (2 if name == "lenet5_adder" else 0)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), model(x))


def test_export_with_any_number_of_images_and_compile_without_a_break():
    model, x = build_model("lenet5_adder").eval(), torch.randn(4, 1, 28, 28)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("n", min=2)},))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x[:3]), model(x[:3]))
    compiled(x).sum().backward()
    got = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model(x).sum().backward()
    for a, b in zip(got, model.parameters(), strict=True):
        torch.testing.assert_close(a, b.grad)
