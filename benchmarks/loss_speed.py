"""P1: the Mutual-Channel Loss, forward and backward, against the authors' formulation.

The peer is written from a description of the authors' code: the softmax over flattened places, the
channel axis swapped with the width's for a max pool of (1, ξ), swapped back and made contiguous;
the same pool over maps times mask, an average pool and cross-entropy. Both take the same maps and
the same mask, drawn beforehand. What is compared must agree to 1e-4 or the run stops.

Ours is timed as it comes and with `compiled=True`. Each runs twice in its turn and the second time
counts, with freed memory kept, so that none pays for how the others left the heap. The extra
memory is the most that the tensors made in a forward and a backward pass hold at one time, the
gradient of the maps included.

Run: `python benchmarks/loss_speed.py [N]`: N rounds of each in turn (default 60). Exit code 1 if
a promise is broken.
"""

import statistics
import sys
from dataclasses import dataclass
from functools import partial

import torch
from rig.measure import verdict
from rig.pairs import conditions, in_turn, keep_freed_memory, peak_bytes, ratio
from torch import Tensor
from torch.nn import functional as F

from mcl_bench.losses import draw_mask, mc_loss

THREADS = 2
MU, LAMBDA = 1.5, 10.0
PROMISE_MAPS = 2
PEER = "the authors' formulation"
EAGER = "mc_loss"
COMPILED = "mc_loss, compiled"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One size of maps and how many times faster than the peer ours must be."""

    batch: int
    num_classes: int
    xi: int
    side: int
    compiled: float
    eager: float


CASES = (
    Case(batch=32, num_classes=200, xi=3, side=14, compiled=6.0, eager=1.7),
    Case(batch=16, num_classes=200, xi=10, side=14, compiled=4.5, eager=1.5),
)


def authors_pool(maps: Tensor, xi: int) -> Tensor:
    """The maximum over each class's channels, B×K×H×W."""
    swapped = maps.transpose(1, 3)
    pooled = F.max_pool2d(swapped, kernel_size=(1, xi), stride=(1, xi))
    return pooled.transpose(1, 3).contiguous()


def authors_loss(maps: Tensor, target: Tensor, mask: Tensor, xi: int) -> Tensor:
    """The same scalar in the authors' formulation; `mask` is B×C×1×1."""
    shares = F.softmax(maps.flatten(2), dim=2).view_as(maps)
    h = authors_pool(shares, xi).flatten(2).sum(2).mean()
    pooled = F.avg_pool2d(authors_pool(maps * mask, xi), maps.shape[2])
    return MU * (F.cross_entropy(pooled.flatten(1), target) + LAMBDA * (1 - h / xi))


def our_loss(
    maps: Tensor, target: Tensor, mask: Tensor, groups: tuple[int, ...], *, compiled: bool
) -> Tensor:
    """The scalar in closed form; `mask` has C entries."""
    terms = mc_loss(maps, target, groups=groups, mask=mask, compiled=compiled)
    return terms.weighted(mu=MU, lambda_=LAMBDA)


def report(case: Case, rounds: int) -> tuple[str, bool]:
    """The table of one case and its promises, and whether they are kept."""
    groups = (case.xi,) * case.num_classes
    generator = torch.Generator().manual_seed(0)
    shape = (case.batch, sum(groups), case.side, case.side)
    maps = torch.randn(shape, generator=generator).relu().requires_grad_()
    target = torch.randint(case.num_classes, (case.batch,), generator=generator)
    mask = draw_mask(groups, 0.5, generator=generator)
    tall_mask = mask[None, :, None, None].expand(case.batch, -1, 1, 1).contiguous()
    losses = {
        PEER: partial(authors_loss, maps, target, tall_mask, case.xi),
        EAGER: partial(our_loss, maps, target, mask, groups, compiled=False),
        COMPILED: partial(our_loss, maps, target, mask, groups, compiled=True),
    }
    values = [loss().item() for loss in losses.values()]
    if max(values) - min(values) > 1e-4:
        raise SystemExit(f"the losses differ: {values}")
    steps = {
        name: lambda loss=loss: torch.autograd.grad(loss(), maps) for name, loss in losses.items()
    }
    seconds = in_turn(steps, rounds, repeated=True)
    one_map = maps.numel() * maps.element_size()
    memory = {name: peak_bytes(step) / one_map for name, step in steps.items()}
    lines = [
        f"P1: {'×'.join(map(str, shape))}, ξ = {case.xi}, forward and backward; {conditions()}",
        f"{'':26}{'median':>11}{'fastest':>11}{'ratio':>8}{'fastest':>9}  extra memory",
    ]
    for name, times in seconds.items():
        lines.append(
            f"{name:26}{statistics.median(times) * 1e3:8.1f} ms{min(times) * 1e3:8.1f} ms"
            f"{ratio(seconds[PEER], times):7.2f}x{min(seconds[PEER]) / min(times):8.2f}x"
            f"  {memory[name]:.2f} maps"
        )
    kept = True
    for name, least in ((COMPILED, case.compiled), (EAGER, case.eager)):
        faster = ratio(seconds[PEER], seconds[name])
        promises = (
            (f"{name} >= {least}x", f"{faster:.2f}x", faster >= least),
            (f"{name} <= {PROMISE_MAPS} maps", f"{memory[name]:.2f}", memory[name] <= PROMISE_MAPS),
        )
        lines += [verdict(promise, found, kept=held) for promise, found, held in promises]
        kept = kept and all(held for _, _, held in promises)
    return "\n".join(lines), kept


def main() -> int:
    """Measure, print, and say by the exit code whether the promises are kept."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    if rounds < 1:
        raise SystemExit(f"N must be at least 1, got {rounds}")
    torch.set_num_threads(THREADS)
    keep_freed_memory()
    reports = [report(case, rounds) for case in CASES]
    sys.stdout.write("\n\n".join(text for text, _ in reports) + "\n")
    return 0 if all(kept for _, kept in reports) else 1


if __name__ == "__main__":
    raise SystemExit(main())
