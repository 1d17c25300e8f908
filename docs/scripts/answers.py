"""Writes `docs/answers.md`: `python -m docs.scripts.answers > docs/answers.md`."""

import sys
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from brainmri.web.schemas import BatchBody, ErrorBody, ExplanationBody, PredictionBody

_HEAD = """# Answers, field by field

Written by `python -m docs.scripts.answers` from the schemas that the server answers with; a test compares the two.
KServe's V1 and BentoML's client have the same fields; the Open Inference Protocol has
[outputs](open-inference.md#models), and a row of `score` has [columns](scoring.md#the-columns).
"""

_CHAPTERS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("A prediction", "`POST /predict`, and each of `results` and `predictions`.", PredictionBody),
    ("An explanation", "`POST /explain` answers with these fields beside those of a prediction.", ExplanationBody),
    ("Several predictions", "`POST /predict_batch`.", BatchBody),
    ("An error", 'Every status from 400 on, except in the protocols, which have `{"error": "..."}`.', ErrorBody),
)
_NAMES = {"str": "string", "float": "number", "int": "integer", "bool": "boolean"}


def document() -> str:
    """Returns the text of `docs/answers.md`."""
    return _HEAD + "".join(_chapter(*chapter) for chapter in _CHAPTERS)


def _chapter(title: str, where: str, body: type[BaseModel]) -> str:
    rows = "".join(f"| `{path}` | {kind} | {meaning} |\n" for path, kind, meaning in _rows(body, ""))
    return f"\n## {title}\n{where}\n\n| field | type | meaning |\n|---|---|---|\n{rows}"


def _rows(body: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in body.model_fields.items():
        inner = _inner(field.annotation)
        meaning = _meaning(field) or ("" if inner is None else _first_line(inner))
        yield f"{prefix}{name}", _kind(field.annotation), meaning
        if inner is not None:
            yield from _rows(inner, f"{prefix}{name}.")


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _first_line(body: type[BaseModel]) -> str:
    return (body.__doc__ or "").splitlines()[0]


def _inner(annotation: Any) -> type[BaseModel] | None:
    """Returns the object that a field is, or may be where it is not null."""
    for kind in (annotation, *_alternatives(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()


def _kind(annotation: Any) -> str:
    if kinds := _alternatives(annotation):
        return " or ".join(_kind(kind) for kind in kinds)
    if annotation is NoneType:
        return "null"
    origin = get_origin(annotation)
    if origin is list:
        return "array"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "object"
    return _NAMES.get(getattr(annotation, "__name__", ""), "string")


if __name__ == "__main__":
    sys.stdout.write(document())
