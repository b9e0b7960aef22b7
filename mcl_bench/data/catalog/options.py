"""Reading `data.options`: what one dataset alone knows."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from mcl_bench.records import UserError
from mcl_bench.spec.model import Model
from mcl_bench.spec.schema import DataSpec

OptionsT = TypeVar("OptionsT", bound=Model)


def parse_options(model: type[OptionsT], options: Mapping[str, Any], *, dataset: str) -> OptionsT:
    """The options as a value of `model`; UserError on an unknown key or a bad value."""
    for key in options:
        if key not in model.model_fields:
            raise UserError(
                f"data.options.{key} is not an option of {dataset}",
                key=f"data.options.{key}",
                remedy=_known(key, model.model_fields),
            )
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(["data.options", *(str(part) for part in fault["loc"])])
        raise UserError(f"{key}: {fault['msg']}, got {fault['input']!r}", key=key) from error


def no_root(data_root: str | None, *, dataset: str) -> None:
    """UserError if a root was given to a dataset that has its images elsewhere."""
    if data_root is not None:
        raise UserError(
            f"data.root is not used by {dataset}, got {data_root!r}",
            key="data.root",
            remedy="take data.root away",
        )


def no_official_validation(data: DataSpec) -> None:
    """UserError if the validation split was asked for of a dataset that has none."""
    if data.validation == "official":
        raise UserError(
            f"data.validation: official, but {data.name} has no validation split of its own",
            key="data.validation",
            remedy="give a share of the training images, such as 0.1",
        )


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean …? ` if something known is near, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}? " if close else ""


def _known(key: str, fields: Iterable[str]) -> str:
    names = sorted(fields)
    if not names:
        return "it has no options"
    return f"{nearest(key, names)}known: {', '.join(names)}"
