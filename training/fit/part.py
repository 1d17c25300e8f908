"""What the parts of a recipe have in common."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Part(BaseModel):
    """A frozen part of a recipe that refuses unknown fields.

    A run remembers the hash of its recipe. Fields in `LATER` came after the first runs: they are written only where
    they differ from their default, so that the hashes of older recipes stay.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    LATER: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        fields = type(self).model_fields
        return {
            name: value
            for name, value in written.items()
            if name not in self.LATER or getattr(self, name) != fields[name].default
        }
