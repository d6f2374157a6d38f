"""The base class of recorded facts: immutable, and strict about the fields of what is read back."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """An immutable set of facts; reading one back with an unknown field is a validation error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
