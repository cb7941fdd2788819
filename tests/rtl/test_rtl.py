"""adder_pe.sv = reference: every bit of the accumulator, every sticky flag, in Icarus Verilog."""

import itertools
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import get_args

import numpy as np
import pytest

from addersim import rtl
from addersim.arithmetic.datapath import EVENTS, ORDERS, Circuit, Datapath, Register, TreeCut, exact_datapath
from addersim.arithmetic.fixed import IntFormat, Overflow, Rounding
from addersim.arithmetic.window import Window
from addersim.errors import InputError
from addersim.kernels import reference

BENCH = Path(__file__).with_name("adder_pe_bench.sv")
CIRCUITS, SIGNS, OVERFLOWS, ROUNDINGS = get_args(Circuit), ("positive", "negative"), list(Overflow), list(Rounding)
PRELOAD_BITS = 16
U8, S8 = IntFormat(8, signed=False), IntFormat(8, signed=True)
needs_icarus = pytest.mark.skipif(
    not (shutil.which("iverilog") and shutil.which("vvp")), reason="needs Icarus Verilog (apt-get install iverilog)"
)


def steps_of(values_lrsc, datapath, beyond):
    """Return what the module meets, one row of T channels per step, in the datapath's order; ``beyond`` C as well."""
    T, (lines, R, S, C) = datapath.tree_inputs, values_lrsc.shape
    groups = -(-C // T)
    padded = np.full((lines, R, S, groups * T), beyond, np.int64)
    padded[..., :C] = values_lrsc
    axes = [1 + "rsc".index(letter) for letter in datapath.order]
    return padded.reshape(lines, R, S, groups, T).transpose(0, *axes, 4).reshape(-1, T)


def write_hex(file, words_lt, bits):
    """Write one line per step, its T words of ``bits`` bits side by side, the first lowest."""
    rows = (words_lt & ((1 << bits) - 1)).tolist()
    file.write_text("".join(f"{sum(word << bits * t for t, word in enumerate(row)):x}\n" for row in rows))


def compile_bench(folder, datapath, images, channels, steps):
    """Compile module and bench for the datapath and return what the compiler says."""
    values = rtl.parameters(datapath) | {"PRELOAD_BITS": PRELOAD_BITS}
    macros = {name: values[name] for name in ("T", "X_BITS", "W_BITS", "ACC_BITS", "PRELOAD_BITS")}
    macros |= {"IMAGES": images, "CHANNELS": channels, "STEPS": steps, "PARAMETERS": rtl.assignments(values)}
    defines = [f"-D{name}={value}" for name, value in macros.items()]
    command = ["iverilog", "-g2012", "-Wall", *defines, "-o", folder / "bench.vvp", BENCH, rtl.source()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def simulate(folder, datapath, x_nrsc, w_krsc, initial_k):
    """Return the module's accumulators and flags for every pair of an image and an output channel."""
    N, K = len(x_nrsc), len(w_krsc)
    enable_st = steps_of(np.ones_like(x_nrsc[:1]), datapath, beyond=0)
    # disabled leaves meet operands far apart, which must not show
    write_hex(folder / "x_nt.hex", steps_of(x_nrsc, datapath, beyond=-1), datapath.x.bits)
    write_hex(folder / "w_kt.hex", steps_of(w_krsc, datapath, beyond=0), datapath.w.bits)
    write_hex(folder / "enable_st.hex", enable_st, 1)
    write_hex(folder / "preload_k.hex", initial_k[:, None], PRELOAD_BITS)
    compile_bench(folder, datapath, N, K, len(enable_st))
    done = subprocess.run(["vvp", "-n", "bench.vvp"], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
    words = np.array([int(word, 16) for word in (folder / "outputs.hex").read_text().split()]).reshape(-1, 2)
    assert words[-1].tolist() == [0, 0]  # after the reset
    codes, flags = words[:-1].reshape(N, K, 2).transpose(2, 0, 1)
    register = datapath.accumulator.format
    acc_nk = codes - ((codes >> (register.bits - 1)) << register.bits) if register.signed else codes
    return acc_nk, (flags[..., None] >> np.arange(len(EVENTS))) & 1


def check(folder, datapath, x_nrsc, w_krsc, initial_k):
    """Require the reference's accumulators, and its events image by image; return the events of all."""
    acc_nk, flags_nke = simulate(folder, datapath, x_nrsc, w_krsc, initial_k)
    window = Window(*w_krsc.shape[1:3])
    for image, acc_k, flags_ke in zip(x_nrsc, acc_nk, flags_nke, strict=True):
        expected, events = reference.convolve(image[None], w_krsc, initial_k, datapath, window, 0)
        np.testing.assert_array_equal(acc_k, expected[0, 0, 0])
        assert dict(zip(EVENTS, flags_ke.sum(0).tolist(), strict=True)) == events
    return dict(zip(EVENTS, flags_nke.sum((0, 1)).tolist(), strict=True))


def narrower(stage, bits, overflow):
    """Return the register ``bits`` bits narrower."""
    return Register(IntFormat(max(1, stage.format.bits - bits), stage.format.signed), overflow)


def narrowed(datapath, overflow, **bits):
    """Return the datapath with each stage named by ``bits`` that much narrower, ``tree`` at every level."""
    less_in_tree = bits.pop("tree", 0)
    levels = tuple(narrower(level, less_in_tree, overflow) for level in datapath.tree)
    stages = {name: narrower(getattr(datapath, name), less, overflow) for name, less in bits.items()}
    return replace(datapath, tree=levels, **stages)


def too_narrow(datapath, overflow):
    """Return the datapath with every register too narrow for some of its values."""
    difference = {"difference": 1} if datapath.difference else {}
    return narrowed(datapath, overflow, leaf=2, tree=2, accumulator=3, **difference)


def with_cut(datapath, shift, rounding, bits, overflow=Overflow.SATURATE):
    """Return the datapath with its tree sum shifted, rounded and put into a register of ``bits``."""
    return replace(datapath, cut=TreeCut(shift, rounding, IntFormat(bits, datapath.leaf.format.signed), overflow))


def byte_datapath(T, sign="positive", x=U8, w=U8, kind="adder", weight_shift=0):
    """Return the exact datapath of one pixel of T + 1 channels: two steps, the second one masked."""
    return exact_datapath(kind, x, w, T + 1, tree_inputs=T, sign=sign, weight_shift=weight_shift)


def variants():
    """Yield name and datapath: what each parameter of the module does, at 8 bits."""
    for sign, circuit, overflow in itertools.product(SIGNS, CIRCUITS, OVERFLOWS):
        yield f"{sign}-{circuit}-{overflow}", replace(too_narrow(byte_datapath(1, sign), overflow), circuit=circuit)
    for T, sign, overflow in itertools.product((2, 3), SIGNS, OVERFLOWS):
        yield f"T{T}-{sign}-{overflow}", too_narrow(byte_datapath(T, sign), overflow)
    yield "T8-positive-exact", byte_datapath(8)
    yield "T8-negative-wrap", too_narrow(byte_datapath(8, "negative"), Overflow.WRAP)
    for rounding, sign in itertools.product(ROUNDINGS, SIGNS):
        yield f"{rounding}-{sign}", with_cut(byte_datapath(2, sign), 3, rounding, 6)
    for circuit, x, w, shift in zip(CIRCUITS, (S8, U8, S8), (S8, S8, U8), range(3), strict=True):
        mixed = too_narrow(byte_datapath(2, x=x, w=w, weight_shift=shift), Overflow.WRAP)
        yield f"{x}-{w}-shift{shift}-{circuit}", replace(mixed, circuit=circuit)
    product = byte_datapath(3, x=U8, w=S8, kind="multiplier")
    yield "multiplier", product
    yield "multiplier-narrow", too_narrow(product, Overflow.WRAP)
    yield "multiplier-cut", with_cut(product, 7, Rounding.HALF_EVEN, 9, Overflow.WRAP)
    wide, widest = Register(IntFormat(40, True)), Register(IntFormat(62, True))
    yield "wide", replace(byte_datapath(1), difference=wide, accumulator=widest)


VARIANTS = dict(variants())


def check_random(folder, datapath, images, channels, channel_inputs, kernel=(1, 1), preload=(-40, 300)):
    """Compare random operands, every image with every output channel."""
    rng = np.random.default_rng(images + channels)
    shape = (*kernel, channel_inputs)
    x_nrsc = rng.integers(datapath.x.min, datapath.x.max, (images, *shape), endpoint=True)
    w_krsc = rng.integers(datapath.w.min, datapath.w.max, (channels, *shape), endpoint=True)
    return check(folder, datapath, x_nrsc, w_krsc, rng.integers(*preload, channels, endpoint=True))


@needs_icarus
@pytest.mark.parametrize("name", VARIANTS)
def test_ten_thousand_outputs_of_byte_operands(tmp_path, name):
    datapath = VARIANTS[name]
    check_random(tmp_path, datapath, 100, 100, datapath.tree_inputs + 1)


@needs_icarus
@pytest.mark.parametrize("name", ["positive-xor_carry-saturate", "negative-comparator-wrap"])
def test_hundred_thousand_outputs(tmp_path, name):
    events = check_random(tmp_path, VARIANTS[name], 100, 1000, 2)
    assert [name for name in EVENTS if events[name]] == ["difference", "leaf", "accumulator"]


@pytest.mark.slow
@needs_icarus
@pytest.mark.parametrize("name", VARIANTS)
def test_hundred_thousand_outputs_of_every_variant(tmp_path, name):
    datapath = VARIANTS[name]
    check_random(tmp_path, datapath, 100, 1000, datapath.tree_inputs + 1)


@needs_icarus
@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("stage", EVENTS)
def test_each_flag_belongs_to_its_register(tmp_path, stage, overflow):
    """One register too narrow, all others exact: its flag alone is ever set."""
    exact = byte_datapath(3)
    if stage == "requantise":
        datapath = with_cut(exact, 2, Rounding.HALF_UP, 6, overflow)
    else:
        datapath = narrowed(exact, overflow, **{stage: 1})
    events = check_random(tmp_path, datapath, 20, 20, 4, preload=(0, 0))
    assert [name for name in EVENTS if events[name]] == [stage]


@needs_icarus
@pytest.mark.parametrize(("sign", "circuit", "overflow"), list(itertools.product(SIGNS, CIRCUITS, OVERFLOWS)))
def test_three_bits_exhaustively(tmp_path, sign, circuit, overflow):
    """Every sequence of two pairs of 3-bit operands into registers of 3 bits, difference included."""
    u3 = IntFormat(3, signed=False)
    values = np.array(list(itertools.product(range(8), repeat=2)))[:, None, None]
    exact = exact_datapath("adder", u3, u3, 2, sign=sign)
    narrow = narrowed(exact, overflow, difference=1, accumulator=1)
    events = check(tmp_path, replace(narrow, circuit=circuit), values, values, np.arange(64) % 11 - 3)
    assert events["difference"] and events["accumulator"]


@needs_icarus
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_trees_and_roundings_exhaustively(tmp_path, rounding, overflow):
    """Every triple of 2-bit operand pairs: an odd last node, narrow levels of two widths, a cut of two bits."""
    s2 = IntFormat(2, signed=True)
    values = np.array(list(itertools.product(range(-2, 2), repeat=3)))[:, None, None]
    exact = exact_datapath("multiplier", s2, s2, 3, tree_inputs=3)
    datapath = with_cut(narrowed(exact, overflow, tree=1), 1, rounding, 3, overflow)
    check(tmp_path, datapath, values, values, np.arange(64) % 32 - 16)


def any_format(random, least=1):
    """Return a word of up to 8 bits, signed or not."""
    return IntFormat(random.randint(least, 8), random.random() < 0.5)


def any_stage(random):
    """Return a register of up to 8 bits."""
    return Register(any_format(random, least=3), random.choice(OVERFLOWS))


def any_datapath(random):
    """Return any datapath at all: nothing need fit, and signedness changes from stage to stage."""
    kind, T = random.choice(["adder", "adder", "multiplier"]), random.randint(1, 6)
    cut = TreeCut(random.randint(0, 9), random.choice(ROUNDINGS), any_format(random), random.choice(OVERFLOWS))
    difference = Register(IntFormat(random.randint(1, 9), True), random.choice(OVERFLOWS))
    return Datapath(
        kind=kind,
        x=any_format(random),
        w=any_format(random),
        difference=difference if kind == "adder" else None,
        leaf=any_stage(random),
        accumulator=any_stage(random),
        tree_inputs=T,
        tree=tuple(any_stage(random) for _ in range((T - 1).bit_length())),
        cut=random.choice([cut, None]),
        order=random.choice(ORDERS),
        sign=random.choice(SIGNS),
        weight_shift=random.randint(0, 3) if kind == "adder" else 0,
        circuit=random.choice(CIRCUITS),
    )


@needs_icarus
@pytest.mark.parametrize("seed", range(80))
def test_any_datapath(tmp_path, seed):
    random = Random(seed)
    check_random(tmp_path, any_datapath(random), 12, 12, random.randint(1, 8), kernel=(2, 2), preload=(-99, 199))


@needs_icarus
@pytest.mark.parametrize("name", ["positive-two_subtractors-wrap", "T3-negative-saturate", "multiplier-cut"])
def test_the_compiler_warns_of_nothing(tmp_path, name):
    assert compile_bench(tmp_path, VARIANTS[name], 1, 1, 1) == ""


def test_what_the_module_cannot_do_is_named():
    byte = byte_datapath(1)
    with pytest.raises(InputError, match="its difference register is signed"):
        rtl.parameters(replace(byte, difference=Register(U8)))
    with pytest.raises(InputError, match="8192 tree inputs"):
        rtl.parameters(byte_datapath(8192))
