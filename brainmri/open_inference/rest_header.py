"""The JSON of an inference request over REST, and its checks."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, StrictBool, StrictInt, ValidationError

from brainmri.errors import MalformedRequest
from brainmri.open_inference.dataplane import MAX_ID_CHARACTERS

_MOST_VALUES = 100_000
"""Values in a document besides pixels; parsing them holds the interpreter's lock, for 10 ms at most."""

# JSON may write integers of thousands of digits, which Python refuses to print: messages would fail.
Int64 = Annotated[StrictInt, Field(ge=-(2**63), le=2**63 - 1)]


class InputParameters(BaseModel):
    """What says where an input's content is."""

    binary_data_size: StrictInt | None = Field(default=None, ge=0, le=2**40)
    shared_memory_region: object = None


class Input(BaseModel):
    """An input; `data` is a text where pixels have been taken out."""

    name: str
    datatype: str
    shape: list[Int64] = Field(max_length=8)
    parameters: InputParameters = InputParameters()
    data: list[Any] | str | None = None


class OutputParameters(BaseModel):
    """How an output is to be answered."""

    binary_data: StrictBool | None = None
    classification: Int64 | None = None
    label: str | None = None
    shared_memory_region: object = None


class Output(BaseModel):
    """A requested output."""

    name: str
    parameters: OutputParameters = OutputParameters()


class Parameters(BaseModel):
    """Parameters of the whole request."""

    binary_data_output: StrictBool = False
    timeout: Int64 = 0
    priority: Int64 = 0
    frame: Int64 | None = None
    force: StrictBool = False


class Header(BaseModel):
    """The whole document."""

    id: str | None = Field(default=None, max_length=MAX_ID_CHARACTERS)
    parameters: Parameters = Parameters()
    inputs: list[Input]
    outputs: list[Output] = []


def parse_header(document: bytes) -> Header:
    """Reads the document, without its pixels.

    Raises:
        MalformedRequest: It is not JSON, or not what the protocol describes.
    """
    if sum(document.count(sign) for sign in (b",", b"[", b"{")) > _MOST_VALUES:
        raise MalformedRequest(
            f"The JSON holds more than {_MOST_VALUES} values that are no pixels. Pixels are integers from 0 to 255.",
            limit=f"{_MOST_VALUES} values",
        )
    try:
        # It knows the fields, so that it makes no objects of others; and its texts have no lone surrogates.
        return Header.model_validate_json(document)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if fault["type"] == "json_invalid":
            raise MalformedRequest(
                "The request is not JSON. Send the protocol's JSON; with tensors behind it, give its length in"
                " Inference-Header-Content-Length; with 0 there, the body is one raw image."
            ) from error
        where = ".".join(str(part) for part in fault["loc"]) or "the document"
        raise MalformedRequest(f"The JSON of the request is invalid at {where[:200]}: {fault['msg']}.") from error
