"""The inner loops keep their sums in registers: the compiler's listing of the module, read back.

A sum that is kept on the stack costs a load and a store a step, which no test of bits would see.
"""

import platform
import re
import shutil
import subprocess

import pytest

from addersim.kernels import _native

SUMS = {"distances8": ("psadbw", 12), "products16": ("pmaddwd", 6)}  # what one step of six pixels takes
LOOPS = [f"{name}_{end}" for name in SUMS for end in ("codes", "relu", "words")]
SETS = ("avx512", "avx2", "sse2")
LINE = re.compile(r"^ *([0-9a-f]+):\t([a-z0-9]+) *(.*)$")


@pytest.fixture(scope="module")
def listing():
    """The instructions of every function of the compiled module: address, mnemonic, operands."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the loops are known by their x86-64 instructions")
    if shutil.which("objdump") is None:
        pytest.skip("needs objdump, of binutils")
    command = ["objdump", "--disassemble", "--no-show-raw-insn", _native.__file__]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "__ubsan" in text:
        pytest.skip("compiled with sanitisers, which are not for speed")
    functions = re.split(r"^[0-9a-f]+ <(\w+)>:$", text, flags=re.M)
    lines = {
        name: map(LINE.match, body.splitlines()) for name, body in zip(functions[1::2], functions[2::2], strict=True)
    }
    return {name: [(int(m[1], 16), m[2], m[3]) for m in found if m] for name, found in lines.items()}


def inner_loop(code, instruction):
    """Return the shortest stretch that ends with a jump to its beginning and has ``instruction`` in it."""
    loops = []
    for address, mnemonic, operands in code:
        if mnemonic.startswith("j") and (target := re.match("[0-9a-f]+", operands)):
            body = [line for line in code if int(target[0], 16) <= line[0] <= address]
            loops += [body] if any(line[1].endswith(instruction) for line in body) else []
    return min(loops, key=len)


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("name", LOOPS)
def test_inner_loops_do_not_touch_the_stack(name, instruction_set, listing):
    code = listing.get(f"{name}_{instruction_set}")
    if code is None:
        pytest.skip("the module has no symbols, or was compiled otherwise")
    instruction, a_step = SUMS[name.split("_")[0]]
    loop = inner_loop(code, instruction)
    assert sum(line[1].endswith(instruction) for line in loop) % a_step == 0
    framed = any(line[1:] == ("mov", "%rsp,%rbp") for line in code)  # else %rbp is a register like any other
    stack = re.compile(r"\(%r[sb]p" if framed else r"\(%rsp")
    assert [line for line in loop if stack.search(line[2])] == []
