"""nn.convert: which layers become adder layers, with what settings, and that foreign ones keep their weights."""

import pytest
import torch
from torch import nn

from addersim.errors import InputError
from addersim.nn import AdderConv2d, convert


def kinds(model):
    return [type(m).__name__ for m in model.modules() if isinstance(m, nn.Conv2d | AdderConv2d)]


def network(*last):
    block = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    return nn.Sequential(nn.Conv2d(3, 8, 3), block, nn.Conv2d(8, 8, (3, 1), dilation=(2, 1), groups=4), *last)


def test_ends_stay_unless_asked():
    assert kinds(convert(network(nn.Flatten(), nn.Linear(8, 2)))) == ["Conv2d", "AdderConv2d", "AdderConv2d"]
    assert kinds(convert(network(nn.Conv2d(8, 2, 1)))) == ["Conv2d", "AdderConv2d", "AdderConv2d", "Conv2d"]
    assert kinds(convert(network(), keep_first_last=False)) == ["AdderConv2d"] * 3


def test_settings_and_shapes_are_kept():
    plain, adder = network(), convert(network(), keep_first_last=False)
    x = torch.randn(2, 3, 13, 12)
    assert adder(x).shape == plain(x).shape
    assert adder[1][0].bias is None and adder[2].bias is not None
    assert (adder[2].groups, adder[2].dilation, adder[2].kernel_size) == (4, (2, 1), (3, 1))
    assert not convert(network().eval(), keep_first_last=False)[1][0].training


class Published(nn.Module):
    """What the published code calls adder2d."""

    def __init__(self, name, weight, bias=None):
        super().__init__()
        self.stride, self.padding, self.kernel_size = 2, 1, 3
        setattr(self, name, nn.Parameter(weight))
        if bias is not None:
            self.b = nn.Parameter(bias)


@pytest.mark.parametrize("wrap", [lambda m: m, nn.DataParallel])
def test_adder_layers_of_other_code_keep_their_weights(wrap):
    weight, bias = torch.randn(4, 3, 3, 3), torch.randn(4)
    for layer in (Published("adder", weight), Published("pat", weight.flatten(2)), Published("adder", weight, bias)):
        ours = convert(wrap(nn.Sequential(nn.Identity(), layer)))
        found = next(m for m in ours.modules() if isinstance(m, AdderConv2d))
        torch.testing.assert_close(found.weight, weight)
        assert (found.stride, found.padding) == ((2, 2), (1, 1))
        x = torch.randn(1, 3, 9, 9)
        expected = found(x)
        assert expected.shape == (1, 4, 5, 5)
        assert (found.bias is None) == (not hasattr(layer, "b"))


def test_padding_that_adder_layers_do_not_have():
    with pytest.raises(InputError, match="padding='same'"):
        convert(nn.Sequential(nn.Conv2d(3, 4, (3, 2), padding="same")), keep_first_last=False)
    with pytest.raises(InputError, match="padding_mode must be 'zeros'"):
        convert(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")), keep_first_last=False)


def test_paddings_by_name_are_kept():
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.Conv2d(4, 2, 3, padding="valid"))
    x = torch.randn(1, 3, 7, 7)
    expected = plain(x).shape
    assert convert(plain, keep_first_last=False)(x).shape == expected and plain[0].padding == (1, 1)


def test_foreign_layers_keep_groups_and_dilation():
    layer = Published("adder", torch.randn(4, 3, 3, 3))
    layer.groups, layer.dilation = 2, 2
    (ours,) = convert(nn.Sequential(layer))
    assert (ours.in_channels, ours.groups, ours.dilation) == (6, 2, (2, 2))
    assert ours(torch.randn(1, 6, 9, 9)).shape == (1, 4, 4, 4)


class Shared(nn.Module):
    """One convolution in three places, in two parents."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.b = self.c = nn.Conv2d(8, 8, 3)
        self.inner = nn.Sequential(self.b)


def test_a_shared_layer_stays_one_layer():
    model = convert(Shared(), keep_first_last=False)
    assert isinstance(model.b, AdderConv2d) and model.b is model.c is model.inner[0]
    assert kinds(convert(Shared())) == ["Conv2d", "Conv2d"]  # the last one is an end, too


def test_a_model_that_is_one_layer_comes_back_as_another():
    assert isinstance(convert(nn.Conv2d(3, 8, 3), keep_first_last=False), AdderConv2d)
    assert isinstance(convert(nn.Conv2d(3, 8, 3)), nn.Conv2d)


class Adder2d(nn.Conv2d):
    """A foreign adder layer that is a convolution to torch."""

    def __init__(self):
        super().__init__(3, 4, 3, bias=False)
        self.adder = nn.Parameter(torch.randn(4, 3, 3, 3))


def test_a_foreign_adder_layer_is_adopted_even_at_an_end():
    model = nn.Sequential(Adder2d())
    weight = model[0].adder
    assert isinstance(convert(model)[0], AdderConv2d) and torch.equal(model[0].weight, weight)


def test_lists_and_single_images_as_in_torch():
    layer = AdderConv2d(3, 4, [3, 3], [1, 2], [1, 0])
    x = torch.randn(3, 6, 6)
    assert layer(x).shape == nn.Conv2d(3, 4, [3, 3], [1, 2], [1, 0])(x).shape
    assert torch.equal(layer(x), layer(x[None])[0])
