"""One adder layer from Python, output stage included, beside the core's limit and what PyTorch offers.

Peers: the published expression (``-(x - w).abs().sum()`` over unfolded patches), ``torch.cdist`` on patches that
are unfolded already (in its favour), and two *multiplying* convolutions: fp32 and int8, each by its better layout or
engine.
"""

from __future__ import annotations

import resource
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import roofline
import torch
import torch.nn.functional as F
from timing import Contest, Times, interleave, ratio

from addersim.arithmetic.datapath import exact_datapath
from addersim.arithmetic.fixed import IntFormat
from addersim.arithmetic.output_stage import OutputStage
from addersim.arithmetic.window import Window
from addersim.kernels import native
from addersim.kernels.plan import LayerPlan

OURS = "addersim"


class Shape(NamedTuple):
    """A layer of ResNet-20 or ResNet-50 at batch 1, and the least share of the limit that is asked of it."""

    name: str
    C: int
    K: int
    side: int
    kernel: int
    least: float
    naive_ratio: float = 0.0

    @property
    def taps(self) -> int:
        """Absolute differences of one image."""
        return self.side**2 * self.K * self.C * self.kernel**2


SHAPES = (
    Shape("ResNet-20 3x3 16 ch", 16, 16, 32, 3, 0.72, 150),
    Shape("ResNet-20 3x3 32 ch", 32, 32, 16, 3, 0.72, 150),
    Shape("ResNet-20 3x3 64 ch", 64, 64, 8, 3, 0.72, 150),
    Shape("ResNet-50 3x3 64 ch", 64, 64, 56, 3, 0.85, 300),
    Shape("ResNet-50 3x3 128 ch", 128, 128, 28, 3, 0.85, 300),
    Shape("ResNet-50 3x3 256 ch", 256, 256, 14, 3, 0.85, 300),
    Shape("ResNet-50 3x3 512 ch", 512, 512, 7, 3, 0.72, 300),
    Shape("ResNet-50 1x1 64 ch", 64, 64, 56, 1, 0.65, 0),
)


def ours(shape: Shape, bits: int) -> Callable[[], object]:
    """Return one call of a layer on codes of ``bits`` bits, 8-bit codes coming out."""
    rng, form = np.random.default_rng(0), IntFormat(bits, False)
    w = rng.integers(0, form.max, (shape.K, shape.kernel, shape.kernel, shape.C), endpoint=True)
    x = rng.integers(0, form.max, (1, shape.side, shape.side, shape.C), endpoint=True)
    nothing, depth = np.zeros(shape.K, np.int64), shape.C * shape.kernel**2
    stage = OutputStage(IntFormat(40, True), IntFormat(50, True), relu=True)
    window = Window(shape.kernel, shape.kernel, padding=(shape.kernel // 2,) * 2)
    datapath = exact_datapath("adder", form, form, depth)
    plan = LayerPlan(w, nothing - 85 * depth, nothing + 1, nothing, nothing + 8, datapath, stage, window, 0, 0, 255)
    return partial(native.layer(plan), x.astype(np.uint8 if bits == 8 else np.uint16))


def peers(shape: Shape) -> dict[str, Callable[[], object]]:
    """Return PyTorch's ways to a layer of this shape."""
    x, w = torch.randn(1, shape.C, shape.side, shape.side), torch.randn(shape.K, shape.C, shape.kernel, shape.kernel)
    padding = shape.kernel // 2
    patches = F.unfold(x, shape.kernel, padding=padding)[0].T.contiguous()
    last = x.to(memory_format=torch.channels_last)
    conv = partial(F.conv2d, weight=w, padding=padding)
    found: dict[str, Callable[[], object]] = {
        "torch.cdist, patches given": partial(torch.cdist, patches, w.flatten(1), p=1.0),
        "fp32 conv2d": partial(conv, x),
        "fp32 conv2d, channels_last": partial(conv, last, weight=w.to(memory_format=torch.channels_last)),
    }
    return found | {f"int8 conv2d, {engine}": _int8(engine, x, w, padding) for engine in ("fbgemm", "onednn")}


def _int8(engine: str, x: torch.Tensor, w: torch.Tensor, padding: int) -> Callable[[], object]:
    torch.backends.quantized.engine = engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates the tensors, but has no other int8 convolution on CPU
        codes = torch.quantize_per_tensor(x, 0.05, 128, torch.quint8).contiguous(memory_format=torch.channels_last)
        weights = torch.quantize_per_tensor(w, 0.05, 0, torch.qint8)
        packed = torch.ops.quantized.conv2d_prepack(weights, None, [1, 1], [padding] * 2, [1, 1], 1)

    def run() -> Any:
        torch.backends.quantized.engine = engine
        return torch.ops.quantized.conv2d(codes, packed, 0.5, 0)

    return run


def naive(shape: Shape) -> Callable[[], object]:
    """Return the published expression."""
    x, w = torch.randn(1, shape.C, shape.side, shape.side), torch.randn(shape.K, shape.C * shape.kernel**2)

    def run() -> torch.Tensor:
        columns = F.unfold(x, shape.kernel, padding=shape.kernel // 2)
        return -(columns - w[:, :, None]).abs().sum(1)

    return run


def race(rounds: int) -> None:
    """Print, per shape, G taps/s, the share of the core's limit, and how much faster than each peer."""
    limits = roofline.limits("distance8")
    print("\nint8 adder layers, batch 1, from Python with the output stage; G taps/s, share of the limit measured in")
    print("the same run (least asked), and times faster than: published expression (its page faults a call) / cdist /")
    print("fp32 convolution / int8 convolution")
    for shape in SHAPES:
        contest = {OURS: ours(shape, 8), **limits, **peers(shape)}
        with torch.no_grad():
            times = interleave(contest, rounds)
            slow = interleave({OURS: contest[OURS], "naive": naive(shape)}, 3 if shape.naive_ratio else 1)
        share = roofline.share(times, "distance8", OURS, shape.taps)
        best = {kind: min(ratio(times, n, OURS) for n in times if n.startswith(kind)) for kind in ("fp32", "int8")}
        row = f"{ratio(slow, 'naive', OURS):6.0f} ({_page_faults(naive(shape)):5.0f}) / "
        row += f"{ratio(times, 'torch.cdist, patches given', OURS):5.1f}"
        row += f" / {best['fp32']:4.2f} / {best['int8']:4.2f}"
        print(f"  {shape.name:22s} {_rate(times, shape):6.1f}  {share:4.0%} ({shape.least:.0%})  {row}")
    _say_limits(limits, rounds)
    limits = roofline.limits("maxima16")
    print("\nint16 adder layers: G taps/s, share of their own limit (70%)")
    for shape in SHAPES[3:6]:
        times = interleave({OURS: ours(shape, 16), **limits}, rounds)
        print(
            f"  {shape.name:22s} {_rate(times, shape):6.1f}  {roofline.share(times, 'maxima16', OURS, shape.taps):4.0%}"
        )


def _page_faults(run: Callable[[], object], calls: int = 5) -> float:
    """Return how many pages a call asks of the system: none where the allocator keeps its temporaries."""
    run()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(calls):
        run()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / calls


def _say_limits(limits: Contest, rounds: int) -> None:
    """Print the core's limit, and what a multiplying convolution's is where one instruction does all of it."""
    rows = {"distance8": limits, **({"products8": roofline.limits("products8")} if roofline.has_vnni() else {})}
    best = {}
    for name, contest in rows.items():
        times = interleave(contest, rounds)
        best[name] = max(1e-9 * roofline.taps(name, row.split(", ")[1]) / np.median(t) for row, t in times.items())
    print(f"the limit: {best['distance8']:.0f} G taps/s of two instructions each (distances, sum)", end="")
    said = f"; products have {best.get('products8', 0):.0f} G in one (AVX-512 VNNI), which the int8 convolution uses"
    print(said if "products8" in best else "")


def _rate(times: Times, shape: Shape) -> float:
    return float(1e-9 * shape.taps / np.median(times[OURS]))
