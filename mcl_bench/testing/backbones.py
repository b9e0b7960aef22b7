"""The contract of a backbone."""

# B batch, K classes, C maps, H×W positions

import copy

import pytest
import torch
from torch import Tensor

from mcl_bench.losses import build_objective
from mcl_bench.spec import TrialSpec
from mcl_bench.training import describe
from mcl_bench.training.models import Network, build_network
from mcl_bench.training.optimisation import build_optimizer

SEED = 3


class BackboneContract:
    """What every backbone keeps: `class TestMine(BackboneContract)` with a fixture `spec`.

    `spec` gives a TrialSpec, with nothing left to resolve, whose model names the backbone with
    `channels: native` and a `data.crop` at which it is quick. The fixture may be parametrised and
    has the scope of the class, as `network` has, so that a backbone is made once.
    """

    num_classes = 3
    batch_size = 4

    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls) -> TrialSpec:
        """The configuration; a suite must give its own."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def network(cls, spec: TrialSpec) -> Network:
        """The network; no test changes it."""
        return build_network(spec.model, cls.num_classes, seed=SEED)

    @pytest.fixture(scope="class")
    @classmethod
    def images(cls, spec: TrialSpec) -> Tensor:
        """B×3×c×c images of noise."""
        assert spec.data.crop is not None, "the crop is resolved"
        generator = torch.Generator().manual_seed(SEED)
        size = (cls.batch_size, 3, spec.data.crop, spec.data.crop)
        return torch.randn(size, generator=generator)

    def test_what_is_said_on_the_meta_device_is_so(
        self, spec: TrialSpec, network: Network, images: Tensor
    ) -> None:
        """Maps, their size, groups and parameters are those that `describe` tells."""
        facts = describe(spec, self.num_classes)
        with torch.no_grad():
            output = copy.deepcopy(network).eval()(images)
        assert output.maps.shape == (self.batch_size, facts.maps, *facts.map_size)
        assert output.embedding.shape == (self.batch_size, facts.embedding_size)
        assert output.logits.shape == (self.batch_size, self.num_classes)
        assert network.groups == facts.groups
        assert sum(value.numel() for value in network.parameters()) == facts.parameters
        assert facts.signed or bool(output.maps.min() >= 0)

    def test_every_parameter_learns_and_a_step_leaves_finite_numbers(
        self, spec: TrialSpec, network: Network, images: Tensor
    ) -> None:
        """A gradient reaches each parameter; after one step parameters and logits are finite."""
        trained = copy.deepcopy(network).train()
        objective = build_objective(
            spec.loss, groups=trained.groups, embedding_size=trained.head.embedding_size
        )
        optimizer = build_optimizer(spec.train.optimizer, network=trained, objective=objective)
        target_B = torch.arange(self.batch_size) % self.num_classes
        torch.manual_seed(SEED)
        objective(trained(images).full(), target_B).total.backward()
        for name, value in trained.named_parameters():
            assert value.grad is not None, f"{name} has no gradient"
            assert value.grad.isfinite().all(), f"{name} has a gradient that is not finite"
        optimizer.step()
        assert all(value.isfinite().all() for value in trained.parameters())
        with torch.no_grad():
            assert trained(images).logits.isfinite().all()

    def test_its_state_can_be_saved_and_loaded(
        self, spec: TrialSpec, network: Network, images: Tensor
    ) -> None:
        """A network of another seed gives the same logits once it has the state of this one."""
        other = build_network(spec.model, self.num_classes, seed=SEED + 1)
        other.load_state_dict(network.state_dict())
        with torch.no_grad():
            expected = copy.deepcopy(network).eval()(images).logits
            assert torch.equal(other.eval()(images).logits, expected)

    def test_frozen_stages_stay_as_they_are(
        self, spec: TrialSpec, network: Network, images: Tensor
    ) -> None:
        """With the first stage frozen, a step in training changes nothing of it."""
        model = spec.model.model_copy(update={"freeze": 1})
        frozen = build_network(model, self.num_classes, seed=SEED)
        still = {name for name, value in frozen.named_parameters() if not value.requires_grad}
        assert still, "the first stage has parameters"
        if describe(spec, self.num_classes).stages > 1:
            assert len(still) < len(list(network.backbone.parameters())), "later stages learn"
        assert all(name.startswith("backbone.") for name in still)
        layers = {name.rpartition(".")[0] for name in still}
        optimizer = build_optimizer(
            spec.train.optimizer, network=frozen, objective=torch.nn.Identity()
        )
        frozen.train()(images).logits.square().sum().backward()
        optimizer.step()
        before = network.state_dict()
        for name, value in frozen.state_dict().items():
            if name.rpartition(".")[0] in layers - {"backbone", "backbone.net"}:
                assert torch.equal(value, before[name]), name
