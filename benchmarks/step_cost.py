"""P2: what the Mutual-Channel Loss adds to a training step.

A step is forward, objective, backward and optimiser, of one network with cross-entropy and with
cross-entropy and the Mutual-Channel Loss, whose mask is drawn in the step; the two in turn, on the
same images. The cost is the median over the pairs of what the second took longer.

The networks: the paper's ResNet-18 (batch 16, 224 pixels, 200 classes of 3 maps); a convnet of
0.018 GFLOP (batch 32, 64 pixels, 20 classes of 3 maps); and the quickstart's own net and batch (12
classes of 3 maps), which has no promise.

Run: `python benchmarks/step_cost.py [N]`: N pairs (default 30). Exit code 1 if a promise is broken.
"""

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rig.measure import verdict
from rig.pairs import conditions, in_turn
from torch import Tensor, nn

from mcl_bench.losses import Outputs, build_objective
from mcl_bench.spec import CrossEntropySpec, ModelSpec, MutualChannelSpec
from mcl_bench.training.backbones import conv_bn_relu
from mcl_bench.training.heads import build_head
from mcl_bench.training.models import build_network

THREADS = 2
CE = CrossEntropySpec(name="ce")
MC = MutualChannelSpec(name="mc", mu=1.5, lambda_=10.0, mask_ratio=0.5)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, its batch, and how much longer its step may take with the loss."""

    name: str
    net: Callable[[int], nn.Module]
    num_classes: int
    batch: int
    side: int
    promise: float | None = None


def resnet18_mc(num_classes: int) -> nn.Module:
    """The paper's ResNet-18 with its head; 600 maps."""
    spec = ModelSpec(backbone="resnet18_mc", weights="none", channels="native", xi="auto")
    return build_network(spec, num_classes, seed=0)


def quickstart_net(num_classes: int) -> nn.Module:
    """The quickstart's network, 3 maps a class."""
    spec = ModelSpec(backbone="convnet", weights="none", channels="adapter", xi=3, head="avgmax")
    return build_network(spec, num_classes, seed=0)


class WideConvnet(nn.Module):
    """0.018 GFLOP (9.1 million multiplications and additions) at 64 pixels: 60 maps of 8×8."""

    groups = (3,) * 20

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_bn_relu(3, 16, kernel=3, stride=2),
            conv_bn_relu(16, 32, kernel=3, stride=2),
            conv_bn_relu(32, 64, kernel=3, stride=2),
            conv_bn_relu(64, 88, kernel=3),
            conv_bn_relu(88, 60, kernel=3),
        ).to(memory_format=torch.channels_last)
        self.head = build_head("avgmax", 60, num_classes)

    def forward(self, images: Tensor) -> Outputs:
        """Logits, maps and embedding."""
        maps = self.body(images)
        embedding = self.head.embed(maps)
        return Outputs(logits=self.head.classify(embedding), maps=maps, embedding=embedding)


CASES = (
    Case(
        name="resnet18_mc",
        net=resnet18_mc,
        num_classes=200,
        batch=16,
        side=224,
        promise=0.02,
    ),
    Case(
        name="convnet of 0.018 GFLOP",
        net=WideConvnet,
        num_classes=20,
        batch=32,
        side=64,
        promise=0.10,
    ),
    Case(name="the quickstart's net", net=quickstart_net, num_classes=12, batch=16, side=64),
)


def training_step(
    case: Case, loss: CrossEntropySpec | MutualChannelSpec, images: Tensor, target: Tensor
) -> Callable[[], None]:
    """One step of a network of its own, as the training takes it."""
    torch.manual_seed(0)
    net = case.net(case.num_classes)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True
    )
    objective = build_objective(
        loss,
        groups=net.groups,
        embedding_size=net.head.embedding_size,
        generator=torch.Generator(),
    )

    def step() -> None:
        output = net(images).full()
        optimizer.zero_grad()
        objective(output, target).total.backward()
        optimizer.step()

    return step


def report(case: Case, pairs: int) -> tuple[str, bool]:
    """The lines of one network, and whether its promise is kept."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(case.batch, 3, case.side, case.side, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last)
    target = torch.randint(case.num_classes, (case.batch,), generator=generator)
    seconds = in_turn(
        {
            "ce": training_step(case, CE, images, target),
            "mc": training_step(case, MC, images, target),
        },
        pairs,
    )
    ce, mc = (statistics.median(times) for times in seconds.values())
    costs = [both / one - 1 for one, both in zip(seconds["ce"], seconds["mc"], strict=True)]
    cost = statistics.median(costs)
    fastest = min(seconds["mc"]) / min(seconds["ce"]) - 1
    lines = [
        f"P2: {case.name}, batch {case.batch}, {case.side} px, {pairs} pairs; {conditions()}",
        f"cross-entropy {ce * 1e3:.2f} ms, with the Mutual-Channel Loss {mc * 1e3:.2f} ms: "
        f"{cost:+.1%} (the fastest of each: {fastest:+.1%})",
    ]
    if case.promise is None:
        return "\n".join(lines), True
    kept = cost <= case.promise
    lines.append(verdict(f"cost <= {case.promise:.0%}", f"{cost:+.1%}", kept=kept))
    return "\n".join(lines), kept


def main() -> int:
    """Measure, print, and say by the exit code whether the promises are kept."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    if pairs < 1:
        raise SystemExit(f"N must be at least 1, got {pairs}")
    torch.set_num_threads(THREADS)
    reports = [report(case, pairs) for case in CASES]
    sys.stdout.write("\n\n".join(text for text, _ in reports) + "\n")
    return 0 if all(kept for _, kept in reports) else 1


if __name__ == "__main__":
    raise SystemExit(main())
