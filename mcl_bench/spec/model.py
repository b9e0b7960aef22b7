"""What every part of the experiment file is: a strict, frozen model."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A strict, frozen part of the experiment file."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, populate_by_name=True, allow_inf_nan=False
    )
