"""Import through torch.export: same floats as torch, names users know, refusals with name and place."""

import contextlib
import json
import zipfile

import numpy as np
import pytest
import torch
from torch import nn
from torch._export.serde.schema import SCHEMA_VERSION
from torch._export.serde.serialize import serialize

import addersim
from addersim.errors import InputError
from addersim.network.float_run import run_float
from addersim.network.torch_file import load_export
from addersim.network.torch_import import from_torch
from addersim.nn import AdderConv2d, AdderLinear, build_model


class Branches(nn.Module):
    """Residual, concatenation, pooling, padding, slicing, upsampling: what networks are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding="same", bias=True), nn.BatchNorm2d(4), nn.ReLU())
        self.adder = AdderConv2d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.pool = nn.AvgPool2d(2, count_include_pad=False)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = self.stem(x)
        x = nn.functional.relu(self.norm(self.adder(x)) + x)
        shortcut = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        x = torch.cat([self.pool(x), shortcut], 1)
        x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.head(self.drop(x.mean((2, 3))))


@pytest.fixture(scope="module")
def branches():
    torch.manual_seed(0)
    module = Branches()
    module.norm.running_mean.fill_(-30)
    module.norm.running_var.fill_(20)
    return module.eval()


def test_a_network_of_everything(branches):
    x = torch.randn(3, 3, 8, 8)
    network = from_torch(branches, x)
    with torch.no_grad():
        np.testing.assert_allclose(run_float(network, x), branches(x).numpy(), rtol=1e-4, atol=1e-4)
    names = [node.name for node in network.nodes]
    assert {"stem.0", "stem.1", "stem.2", "adder", "norm", "pool", "head"} <= set(names)
    qnet = addersim.quantize(network, x)
    trace = addersim.simulate(qnet, x)
    assert np.abs(trace.logits - run_float(network, x)).max() < 0.1


@pytest.mark.parametrize("name", ["lenet5_adder", "lenet5_conv", "resnet20_adder", "resnet20_conv", "resnet20_conv_a"])
def test_every_model_of_the_shelf(name):
    torch.manual_seed(1)
    module = build_model(name)
    x = torch.randn(8, *addersim.nn.catalogue.model_card(name).input_shape)
    module.train()(x)  # running statistics
    module.eval()
    network = from_torch(module, x[:1], name)
    with torch.no_grad():
        expected = module(x[:2]).numpy()
    # Adder outputs sum thousands of float32 terms, in another order here than in the kernel.
    np.testing.assert_allclose(run_float(network, x[:2]), expected, atol=2e-3 * np.abs(expected).max())
    assert network.name == name


def test_export_leaves_the_module_in_its_mode(branches):
    branches.train()
    from_torch(branches, torch.zeros(1, 3, 8, 8))
    assert branches.training
    branches.eval()


class Softmax(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.Softmax(1))

    def forward(self, x):
        return self.block(x)


def test_unsupported_layers_are_named_with_their_place():
    with pytest.raises(InputError, match=r"unsupported layer block\.2 \(aten\.softmax\.int\)"):
        from_torch(Softmax(), torch.zeros(1, 1, 2, 2))
    with pytest.raises(InputError, match=r"unsupported layer 1 .*ceil_mode"):
        from_torch(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)), torch.zeros(1, 1, 5, 5))


def test_nan_in_a_parameter_is_named():
    module = nn.Sequential(nn.Conv2d(1, 1, 1))
    with torch.no_grad():
        module[0].weight[0] = torch.nan
    with pytest.raises(InputError, match=r"parameter 0\.weight holds NaN"):
        from_torch(module, torch.zeros(1, 1, 2, 2))


def test_modules_that_cannot_be_exported():
    class Odd(nn.Module):
        def forward(self, x):
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(InputError, match="cannot trace Odd"):
        from_torch(Odd(), torch.zeros(1, 2))


def test_biases_of_adder_layers_join_the_layer():
    module = nn.Sequential(AdderConv2d(1, 2, 2), nn.Flatten(), AdderLinear(2, 3))
    with torch.no_grad():
        module[0].bias.copy_(torch.tensor([2.0, 3.0]))
        module[2].bias.copy_(torch.tensor([1.0, -1.0, 4.0]))
    x = torch.rand(4, 1, 2, 2)
    network = from_torch(module, x)
    with torch.no_grad():
        np.testing.assert_allclose(run_float(network, x), module(x).numpy(), rtol=1e-5)
    kinds = [node.kind for node in addersim.quantize(network, x).nodes]
    assert kinds == ["input", "adder_conv2d", "flatten", "adder_linear"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    torch.export.save(torch.export.export(build_model("lenet5_adder").eval(), (torch.zeros(1, 1, 28, 28),)), path)
    return path


def test_an_exported_file_is_the_same_network(exported):
    network = from_torch(load_export(exported), None)
    assert [n.kind for n in network.nodes].count("adder_linear") == 2


def rewritten(source, target, change):
    """Copy a zip archive with ``change(name, bytes)`` applied to every member."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))
    return target


def test_hostile_exports_are_refused_and_nothing_runs(exported, tmp_path):
    import io
    import pickle

    trap = tmp_path / "trap"

    class Bomb:
        def __reduce__(self):
            return (open, (str(trap), "w"))

    buffer = io.BytesIO()
    torch.save(Bomb(), buffer)
    cases = {
        "sample_inputs": lambda name, data: buffer.getvalue() if "sample_inputs" in name else data,
        "pickled": lambda name, data: data.replace(b'"use_pickle": false', b'"use_pickle": true'),
        "calls": lambda name, data: data.replace(b"torch.ops.aten.relu.default", b"torch.ops.prims.evil.default"),
    }
    for name, change in cases.items():
        path = rewritten(exported, tmp_path / f"{name}.pt2", change)
        with pytest.raises(InputError, match=rf"{name}\.pt2: "):
            load_export(path)
    assert not trap.exists()
    (tmp_path / "cut.pt2").write_bytes(exported.read_bytes()[:2000])
    (tmp_path / "pickle.pt2").write_bytes(pickle.dumps({"a": 1}))
    for bad in ("cut.pt2", "pickle.pt2", "missing.pt2"):
        with pytest.raises(InputError, match=rf"{bad}: not a file of torch.export.save"):
            load_export(tmp_path / bad)


HOSTILE = {
    "net/data/aotinductor/model/model.so": b"\x7fELF",
    "net/data/constants/custom_obj_0": b"",
    "net/DATA/SAMPLE_INPUTS/MODEL.PT": b"",
    "net/data/sample_inputs/../sample_inputs/model.pt": b"",
    "net/data\\sample_inputs\\model.pt": b"",
    "net/data/weights/weight_\N{ARABIC-INDIC DIGIT ONE}": b"",
    "net/extra/note.txt": b"",
    "net/models/other.json": b"{}",
    "net/": b"",
    "other/data/weights/weight_0": b"",
    "serialized_exported_program.json": b"{}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_members_that_an_export_never_has_are_refused(exported, tmp_path, name):
    path = rewritten(exported, tmp_path / "net.pt2", lambda _, data: data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, HOSTILE[name])
    with pytest.raises(InputError, match=r"net\.pt2: '.*': (torch\.export\.save writes no such|expected each member)"):
        load_export(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_doubled_and_compressed_members_are_refused(exported, tmp_path):
    path = rewritten(exported, tmp_path / "twice.pt2", lambda _, data: data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("net/data/sample_inputs/model.pt", b"")
    with pytest.raises(InputError, match=r"model\.pt': expected each member once"):
        load_export(path)
    with zipfile.ZipFile(tmp_path / "small.pt2", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/models/model.json", b" " * 10**6)
    with pytest.raises(InputError, match="expected members that are not compressed"):
        load_export(tmp_path / "small.pt2")
    with zipfile.ZipFile(tmp_path / "empty.pt2", "w"):
        pass
    with pytest.raises(InputError, match=r"empty\.pt2: not a file of torch\.export\.save"):
        load_export(tmp_path / "empty.pt2")


@pytest.mark.parametrize("part", ["../sample_inputs/model.pt", "custom_obj_0", "opaque_obj_0", "weight_0/.."])
def test_payloads_may_only_be_tensors(exported, tmp_path, part):
    change = lambda name, data: data.replace(b'"weight_0"', json.dumps(part).encode())  # noqa: E731
    with pytest.raises(InputError, match="names a pickled object"):
        load_export(rewritten(exported, tmp_path / "net.pt2", change))


@pytest.mark.parametrize("graph", [b"[" * 10**5, b"[]", b"{", b"\xff", b"7"])
def test_garbled_graphs_end_in_one_line(exported, tmp_path, graph):
    change = lambda name, data: graph if name.endswith(".json") else data  # noqa: E731
    with pytest.raises(InputError, match=r"^[^\n]*net\.pt2: [^\n]*$"):
        load_export(rewritten(exported, tmp_path / "net.pt2", change))


def test_the_layout_up_to_torch_2_7_is_read(tmp_path):
    module = nn.Sequential(AdderConv2d(1, 2, 2), nn.Flatten(), AdderLinear(2, 3)).eval()
    program = torch.export.export(module, (torch.zeros(1, 1, 2, 2),))
    parts = serialize(program)
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as archive:
        archive.writestr("version", ".".join(map(str, SCHEMA_VERSION)))
        archive.writestr("serialized_exported_program.json", parts.exported_program)
        for name in ("state_dict", "constants", "example_inputs"):
            archive.writestr(f"serialized_{name}.pt", getattr(parts, name))
    x = torch.rand(1, 1, 2, 2)
    read, made = (run_float(from_torch(p, None), x) for p in (load_export(tmp_path / "old.pt2"), program))
    np.testing.assert_array_equal(read, made)


LEAF = {"type": None, "context": None, "children_spec": []}
IMPORTING = {
    "collections.defaultdict": {
        "default_factory_module": "addersim_trap",
        "default_factory_name": "factory",
        "dict_context": ["a"],
    },
    "builtins.dict": json.dumps([{"__enum__": True, "fqn": "addersim_trap:E", "name": "x"}]),
    "collections.OrderedDict": json.dumps({"__enum__": True, "fqn": "addersim_trap:E", "name": "x"}),
    "collections.namedtuple": json.dumps("addersim_trap.Pair"),
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("key", ["in_spec", "out_spec"])
@pytest.mark.parametrize("container", IMPORTING)
def test_containers_that_name_modules_import_nothing(exported, tmp_path, monkeypatch, container, key, nested):
    """torch.export.load alone imports the module: it is what makes the test one."""
    # Another name each time: torch remembers the containers that it has read.
    trap = f"addersim_trap_{container.replace('.', '_')}_{key}_{nested}"
    (tmp_path / f"{trap}.py").write_text(f"open({str(tmp_path / 'trap')!r}, 'w').close()\nfactory = list\n")
    monkeypatch.syspath_prepend(tmp_path)
    tree = {"type": container, "context": IMPORTING[container], "children_spec": [LEAF]}
    if nested:
        tree = {"type": "builtins.tuple", "context": "null", "children_spec": [tree]}

    def change(name, data):
        if name != "net/models/model.json":
            return data
        graph = json.loads(data)
        for entry in graph["graph_module"]["module_call_graph"]:
            if entry["signature"]:
                entry["signature"][key] = json.dumps([1, tree]).replace("addersim_trap", trap)
        return json.dumps(graph).encode()

    path = rewritten(exported, tmp_path / "net.pt2", change)
    with pytest.raises(InputError, match=r"model\.json': expected arguments and outputs in tuples, lists and dict"):
        load_export(path)
    assert not (tmp_path / "trap").exists()
    if container != "collections.namedtuple":  # whose name is only looked up
        with contextlib.suppress(AttributeError):
            torch.export.load(path)
        assert (tmp_path / "trap").exists()


def test_dictionaries_of_tensors_are_read(tmp_path):
    class Named(nn.Module):
        def forward(self, x):
            return {"out": x.relu()}

    torch.export.save(torch.export.export(Named(), (torch.zeros(1, 2),)), tmp_path / "net.pt2")
    assert [node.kind for node in from_torch(load_export(tmp_path / "net.pt2"), None).nodes] == ["input", "relu"]
