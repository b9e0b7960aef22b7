"""Contracts for what other people write: subclass one, give its fixture, inherit every test.

    from mcl_bench.testing import LossContract

    class TestSharpened(LossContract):
        @pytest.fixture
        def loss(self):
            return {"name": "my_package.losses:Sharpened", "options": {"gamma": 2}}

pytest then runs each test of the contract on that loss. A fixture with `params` runs them on
several settings; `{"name": …, "plus": {"name": "mc"}}` adds the Mutual-Channel Loss.

A `BackboneContract` needs a fixture `spec` instead, a TrialSpec, and a `DatasetContract` a fixture
`spec` too, a DataSpec. No room of the package imports these files; they need pytest.
"""

from mcl_bench.testing.backbones import BackboneContract
from mcl_bench.testing.datasets import DatasetContract
from mcl_bench.testing.losses import LossContract

__all__ = ["BackboneContract", "DatasetContract", "LossContract"]
