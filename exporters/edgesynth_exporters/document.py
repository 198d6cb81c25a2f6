"""What all records have in common, here and in edgesynth."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Document"]


class Document(BaseModel):
    """A record that becomes JSON: frozen, without other fields than its own, without NaN and infinity."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        populate_by_name=True,
        serialize_by_alias=True,
        # A document always holds every field, so its schema may ask for every field.
        json_schema_serialization_defaults_required=True,
    )
