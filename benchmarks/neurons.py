"""One neuron layer on the CPU: the compiled kernel beside its reference, a plain loop, and the copy roof.

Every contestant is checked for equal counts and gradients before it is timed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.measuring import median_ms, write_results
from synfire.kernels import native
from synfire.kernels.integrate_fire import integrate_fire
from synfire.kernels.surrogates import Surrogate

SHAPE = (32, 128, 16, 16)


class _Round(torch.autograd.Function):
    """Half-up rounding to {0..4}, straight through on [0, 4]."""

    @staticmethod
    def forward(ctx, h):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(h)
        return (h.clamp(0, 4) + 0.5).floor()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (h,) = ctx.saved_tensors
        return grad * ((h >= 0) & (h <= 4))


def plain_loop(x: Tensor, timesteps: int) -> Tensor:
    """What one writes by hand in torch."""
    v = torch.zeros_like(x[: x.shape[0] // timesteps])
    out = []
    for x_t in x.reshape(timesteps, -1, *x.shape[1:]).unbind(0):
        h = 0.25 * v + x_t
        s = _Round.apply(h)
        v = h - s.detach()
        out.append(s)
    return torch.cat(out)


def operator(x: Tensor, timesteps: int) -> Tensor:
    """The operator, with whatever kernel it dispatches to."""
    return integrate_fire(
        x, timesteps, decay=0.25, levels=4, rounding="half_up", unit="count", surrogate=Surrogate()
    )[0]


def training_step(forward: Callable[[Tensor, int], Tensor], x: Tensor, timesteps: int) -> Tensor:
    x = x.detach().requires_grad_()
    forward(x, timesteps).backward(torch.ones_like(x))
    assert x.grad is not None
    return x.grad


def run(timesteps: int, threads: int) -> list[dict[str, object]]:
    """Rows of one setting."""
    torch.set_num_threads(threads)
    x = torch.randn(timesteps * SHAPE[0], *SHAPE[1:]) * 1.5 + 0.5
    contestants: dict[str, Callable[[Tensor, int], Tensor]] = {"plain loop": plain_loop}
    contestants["synfire, compiled" if native.available() else "synfire, reference"] = operator
    expected, slope = plain_loop(x, timesteps), training_step(plain_loop, x, timesteps)
    target = torch.empty_like(x)
    roof = median_ms(lambda: target.copy_(x))[0]
    rows: list[dict[str, object]] = []
    for name, forward in contestants.items():
        assert torch.equal(forward(x, timesteps), expected), name
        torch.testing.assert_close(training_step(forward, x, timesteps), slope)
        with torch.no_grad():
            inference, spread = median_ms(lambda f=forward: f(x, timesteps))  # type: ignore[misc]
        training, training_spread = median_ms(lambda f=forward: training_step(f, x, timesteps))  # type: ignore[misc]
        rows.append(
            {
                "contestant": name, "T": timesteps, "threads": threads, "copy_ms": roof,
                "forward_ms": inference, "forward_iqr_ms": spread,
                "training_ms": training, "training_iqr_ms": training_spread,
            }  # fmt: skip
        )
    return rows


def main() -> None:
    """Print the table and write ``results/neurons-cpu.json``."""
    rows = [row for threads in (1, 2) for timesteps in (1, 4) for row in run(timesteps, threads)]
    print(f"IntegerLIF, D=4, [T, {', '.join(map(str, SHAPE))}] float32, median ms")
    print(f"{'contestant':<22}{'threads':>8}{'T':>4}{'copy':>9}{'forward':>10}{'training':>10}")
    for r in rows:
        print(
            f"{r['contestant']:<22}{r['threads']:>8}{r['T']:>4}{r['copy_ms']:>9.2f}"
            f"{r['forward_ms']:>10.2f}{r['training_ms']:>10.2f}"
        )
    print(write_results("neurons-cpu", rows))


if __name__ == "__main__":
    main()
