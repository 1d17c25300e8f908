"""The operations on image files and on the models that answer."""

from typing import Any

from brainmri.http.openapi.parts import (
    EXAMPLE_ID,
    EXPLAINING,
    PREDICTING,
    READING,
    REQUEST_ID_ONLY,
    RUNNING,
    Node,
    answer,
    errors,
    operation,
    parameter,
    reference,
)
from brainmri.http.predict import IMAGE_FRAME, IMAGE_FRAMES
from brainmri.http.report import FORMS, LABELS_FROM
from brainmri.imaging.formats import FORMATS
from brainmri.imaging.picture import MAX_FRAME
from brainmri.model.contract import LABELS, NOTICE
from brainmri.model.heat_picture import PALETTES
from brainmri.web.schemas import (
    BatchBody,
    ErrorBody,
    ErrorDetail,
    ImageBody,
    ModelBody,
    PredictionBody,
    ScalingBody,
    TimingsBody,
)
from brainmri.web.upload import FIELD, FIELD_OF_MANY

_FILE = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
_TEXT = {"type": "string"}
_ONE_FILE = f"One file: {', '.join(FORMATS)}."
_COUNT = {"type": "integer", "minimum": 0}

EXAMPLE_PREDICTION = PredictionBody(
    label="glioma",
    confidence=0.97,
    probabilities={"glioma": 0.97, "meningioma": 0.015, "notumor": 0.01, "pituitary": 0.005},
    verdict="glioma",
    in_distribution=True,
    novelty=0.12,
    image=ImageBody(
        format="PNG",
        mode="I;16",
        bits=12,
        frames=1,
        frame=0,
        scaling=ScalingBody(rule="bit_length", low=0, high=4095),
    ),
    model=ModelBody(name="brain_mri_xception", version="0.2.2", runtime="openvino-int8"),
    request_id=EXAMPLE_ID,
    timings_ms=TimingsBody(decode=2.1, queue=0.3, inference=24.0, total=26.4),
    notice=NOTICE,
)
"""What a prediction looks like."""

_EXAMPLE_EXPLAINED = {
    **EXAMPLE_PREDICTION.model_dump(),
    "explained_label": "glioma",
    "heatmap": {"png": "iVBORw0KGgoAAAANSUhEUgAAASsAAAEr...", "width": 299, "height": 299, "min": 0.0, "max": 7.4},
}

LABEL = parameter(
    "label",
    "query",
    "Class to explain; the most probable one if absent.",
    {"type": "string", "enum": list(LABELS)},
    "glioma",
)
"""Which class is explained."""

_STYLE = [
    parameter(
        "opacity",
        "query",
        "Of the strongest evidence; 0.6 if absent.",
        {"type": "number", "minimum": 0, "maximum": 1},
        0.6,
    ),
    parameter(
        "palette", "query", "Colours; the first if absent.", {"type": "string", "enum": list(PALETTES)}, "cividis"
    ),
]

_OBJECT = parameter(
    "object",
    "query",
    "With `Accept: application/dicom`: the one object to answer with; both if absent.",
    {"type": "string", "enum": ["report", "capture"]},
    "report",
)

_EXAMPLE_BATCH = BatchBody(
    results=[
        EXAMPLE_PREDICTION,
        ErrorBody(
            error=ErrorDetail(
                code="image_empty",
                message="The image is empty (0 bytes). Send the file's content.",
                request_id=EXAMPLE_ID,
            )
        ),
    ],
    count=2,
    errors=1,
    request_id=EXAMPLE_ID,
)


def form_of(name: str, schema: dict[str, Any]) -> Node:
    """Returns a body of type multipart/form-data with one field."""
    form = {"type": "object", "required": [name], "additionalProperties": False, "properties": {name: schema}}
    return {"multipart/form-data": {"schema": form}}


def choice(name: str) -> list[Node]:
    """Returns the parameters that choose a model; `name` is the first one's."""
    return [
        parameter(name, "query", "Bundle name or serving name; the default model if absent.", _TEXT, "brain_mri"),
        parameter("version", "query", "Version; the first one of that name if absent.", _TEXT, "0.2.2"),
    ]


FORCE = parameter(
    "force",
    "query",
    "Answer also for a DICOM object that says it is no MRI of a head.",
    {"type": "boolean", "default": False},
    False,
)


def frame_choice() -> list[Node]:
    """Returns the parameters that say how a file of several frames, or of another part of the body, is taken."""
    return [
        parameter(
            "frame",
            "query",
            "Frame of a DICOM object, or page of a TIFF, from 0; the middle frame, or the first page, if absent.",
            {"type": "integer", "minimum": 0, "maximum": MAX_FRAME},
            0,
        ),
        FORCE,
    ]


def image_paths() -> Node:
    """Returns the paths that take image files."""
    one = operation(
        "predict",
        "prediction",
        "Classify one slice.",
        {
            "200": answer("The prediction.", "PredictionBody", EXAMPLE_PREDICTION.model_dump()),
            **errors(PREDICTING),
        },
        parameters=[*choice("model"), *frame_choice(), *RUNNING],
        body=_one_file(),
    )
    many = operation(
        "predict_batch",
        "prediction",
        "Classify several slices.",
        {
            "200": answer("One result for each file, in order.", "BatchBody", _EXAMPLE_BATCH.model_dump()),
            **errors(PREDICTING),
        },
        description="Each result is what `/predict` answers for that file alone: a prediction, or an object with"
        " `error`. A file that cannot be answered changes nothing for the others, also when it exceeds the limit of one"
        " image. The request fails as a whole when it exceeds its own limits, and when nothing was answered for a"
        " reason that is not the files', such as overload.",
        parameters=[*choice("model"), *frame_choice(), *RUNNING],
        body=_many_files(),
    )
    return {
        "/predict": {"post": one},
        "/predict_batch": {"post": many},
        "/explain": {"post": _explain()},
        "/preview": {"post": _preview()},
        "/report": {"post": _report()},
    }


def _one_file() -> Node:
    """Returns the body of a request about one image: a form, or the bytes of the file."""
    return {
        **form_of(FIELD, {**_FILE, "description": _ONE_FILE}),
        "image/*": {"schema": _FILE},
        "application/dicom": {"schema": _FILE},
    }


def _many_files() -> Node:
    """Returns the body of a request about several images."""
    return form_of(FIELD_OF_MANY, {"type": "array", "minItems": 1, "items": _FILE})


def _explain() -> Node:
    done = answer("The prediction with its heat map.", "ExplainedPredictionBody", _EXAMPLE_EXPLAINED)
    for kind in ("image/png", "application/dicom", "multipart/related"):
        done["content"][kind] = {"schema": {"type": "string", "format": "binary"}}
    return operation(
        "explain",
        "prediction",
        "Classify one slice, and show where the network looked.",
        {"200": done, **errors(EXPLAINING)},
        description="The heat map covers the network's input: the slice, scaled to 299 pixels on its longer side and"
        " centred in a black square. With `Accept: image/png` the answer is the slice with the map over it, and the"
        " header `X-Explained-Label` names the class. With `Accept: application/dicom` and a DICOM object the answer is"
        " a structured report and a secondary capture in the object's study, as `multipart/related`, or the one that"
        " `object` names; a model without heat maps gives the report.",
        parameters=[LABEL, *_STYLE, _OBJECT, *choice("model"), *frame_choice(), *RUNNING],
        body=_one_file(),
    )


def _preview() -> Node:
    drawn = answer("The picture.", {"type": "string", "format": "binary"}, media="image/png")
    drawn["headers"] |= {
        IMAGE_FRAME: {"description": "Which frame was drawn, from 0.", "required": True, "schema": _COUNT},
        IMAGE_FRAMES: {"description": "How many frames the file has, where they can be counted.", "schema": _COUNT},
    }
    return operation(
        "preview",
        "prediction",
        "Draw what the model sees of one file.",
        {"200": drawn, **errors(PREDICTING)},
        description="A PNG of 8 bits a channel, its longer side at most 1024 pixels, before the scaling to the"
        " network's input: for DICOM, TIFF and other files that a browser does not draw.",
        parameters=[*choice("model"), *frame_choice(), *RUNNING],
        body=_one_file(),
    )


def _report() -> Node:
    written = answer("The document, as an attachment.", {"type": "string"}, media="text/html")
    written["content"]["application/pdf"] = {"schema": {"type": "string", "format": "binary"}}
    form = {"type": "string", "enum": list(FORMS), "default": next(iter(FORMS))}
    return operation(
        "report",
        "prediction",
        "Classify one slice or several, and write a report for people.",
        {"200": written, **errors(EXPLAINING)},
        description="One self-contained file: pictures, heat maps where the model has them, probabilities, the verdict"
        " in words, model, date, settings and notice; of several images a table with totals. With `labels_from` the"
        " folder in each file's name is its true label; mistakes, figures, confusion matrix and ROC curves are added."
        " As many images as `/predict_batch` takes; at most as many reports and bulk requests at a time as"
        " BRAINMRI_MAX_BULK_REQUESTS allows.",
        parameters=[
            parameter("format", "query", "Form of the document.", form, "pdf"),
            parameter("labels_from", "query", "Where true labels come from.", {"enum": list(LABELS_FROM)}),
            LABEL,
            *_STYLE,
            *choice("model"),
            *frame_choice(),
            *RUNNING,
        ],
        body=_many_files(),
    )


BENTOML_SCHEMAS: Node = {
    "Pixels": {
        "type": "array",
        "minItems": 299,
        "maxItems": 299,
        "items": {
            "type": "array",
            "minItems": 299,
            "maxItems": 299,
            "items": {
                "type": "array",
                "minItems": 3,
                "maxItems": 3,
                "items": {"type": "integer", "minimum": 0, "maximum": 255},
            },
        },
        "description": "One image as the network sees it: rows, columns, red, green, blue.",
    },
    "BentoMLError": {
        "description": "BentoML's own errors.",
        "anyOf": [
            {"type": "object", "required": ["error"], "properties": {"error": _TEXT}},
            {"type": "array", "items": {"type": "object", "required": ["error"], "properties": {"error": _TEXT}}},
            reference("ErrorBody"),
        ],
    },
    "TensorRequest": {
        "type": "object",
        "required": ["images"],
        "properties": {
            "images": {
                "type": "array",
                "minItems": 1,
                "maxItems": 2,
                "items": reference("Pixels"),
                "description": "[B][299][299][3].",
            }
        },
    },
}
"""Pixels as JSON, and what BentoML's own route takes and answers."""


def tensor_paths() -> Node:
    """Returns the path that BentoML itself answers, for its own clients."""
    rows = {
        "type": "array",
        "items": {"type": "array", "minItems": 4, "maxItems": 4, "items": {"type": "number"}},
        "description": "Probabilities of glioma, meningioma, notumor and pituitary, one row for each image.",
    }
    refused = {status: answer("Refused or failed.", "BentoMLError") for status in ("400", "413", "429", "500", "503")}
    tensors = operation(
        "probabilities",
        "prediction",
        "Classify tensors, for BentoML's own clients.",
        {"200": answer("The probabilities.", rows), **errors((401,)), **refused},
        description="BentoML reads and answers it, so errors have its shapes, and the body is JSON of known length. The"
        " Open Inference Protocol carries the same tensors at a fraction of the cost.",
        parameters=REQUEST_ID_ONLY,
        body={"application/json": {"schema": reference("TensorRequest")}},
    )
    return {"/probabilities": {"post": tensors}}


def model_paths() -> Node:
    """Returns the paths that describe the models."""
    model = operation(
        "model",
        "models",
        "What a model promises: contract, card, and which others are served.",
        {"200": answer("The contract and more.", "ModelDescription"), **errors(READING)},
        parameters=[*choice("name"), *REQUEST_ID_ONLY],
    )
    models = operation(
        "models",
        "models",
        "Which models are served, the default first; none before the first is loaded.",
        {"200": answer("The models.", "ModelsBody"), **errors((401, 500))},
        parameters=REQUEST_ID_ONLY,
    )
    return {"/model": {"get": model}, "/models": {"get": models}}
