"""The ranges that pyproject.toml promises are those that the tests run with."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent


def test_every_lower_bound_is_in_the_series_that_is_pinned_and_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().split()
    pins = {canonicalize_name(name): Version(pin) for name, pin in (x.split("==") for x in lines)}
    extras = project["optional-dependencies"].values()
    for text in [*project["dependencies"], *(one for extra in extras for one in extra)]:
        requirement = Requirement(text)
        (bound,) = requirement.specifier
        pin, low = pins[canonicalize_name(requirement.name)], Version(bound.version)
        assert bound.operator == ">=", text
        assert (pin.major, pin.minor) == (low.major, low.minor), f"{text}, but {pin} is tested"
        assert pin >= low, text


def test_constraints_are_versions_only() -> None:
    for line in (ROOT / "constraints.txt").read_text().split():
        name, _, pin = line.partition("==")
        assert canonicalize_name(name), line
        assert str(Version(pin)), line
