"""What every interface over HTTP says about the file it read, and the parameters that choose its frame."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from tests.application import Ask, code_of
from tests.imaging.dicom_samples import dataset, file, twelve_bits
from tests.imaging.samples import encode, grey

FRAMES = file(dataset(np.stack([twelve_bits() * share for share in (1, 0, 1, 1, 1)]).astype(np.uint16)))
CT = file(dataset(twelve_bits(), Modality="CT"))
MIDDLE = {
    "format": "DICOM",
    "mode": "MONOCHROME2",
    "bits": 12,
    "frames": 5,
    "frame": 2,
    "scaling": {"rule": "bit_length", "low": 0, "high": 4095},
}
FIRST = {**MIDDLE, "frame": 0}


def predicted(ask: Ask, data: bytes, query: str = "") -> httpx.Response:
    return ask("POST", f"/predict{query}", content=data, headers={"content-type": "application/dicom"})


def v2_request(data: bytes, **parameters: Any) -> dict[str, Any]:
    given = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": [base64.b64encode(data).decode()]}
    return {"inputs": [given], "parameters": parameters, "outputs": [{"name": "source"}, {"name": "label"}]}


def test_a_prediction_says_which_frame_was_read_and_how(ask: Ask) -> None:
    assert predicted(ask, FRAMES).json()["image"] == MIDDLE
    assert predicted(ask, FRAMES, "?frame=0").json()["image"] == FIRST


def test_pixels_of_8_bits_are_told_to_be_as_stored(ask: Ask) -> None:
    image = ask("POST", "/predict", files={"image": encode(grey(), "PNG")}).json()["image"]
    scaling = {"rule": "as_stored", "low": 0, "high": 255}
    assert image == {"format": "PNG", "mode": "L", "bits": 8, "frames": 1, "frame": 0, "scaling": scaling}


def test_each_prediction_of_a_batch_says_it(ask: Ask) -> None:
    files = [("images", FRAMES), ("images", CT), ("images", encode(grey(), "PNG"))]
    dicom, ct, png = ask("POST", "/predict_batch", files=files).json()["results"]
    assert (dicom["image"], ct["error"]["code"], png["image"]["format"]) == (MIDDLE, "not_brain_mr", "PNG")


def test_kserve_v1_says_it_and_takes_the_frame_in_the_query(ask: Ask) -> None:
    body = {"instances": [{"b64": base64.b64encode(FRAMES).decode()}, np.zeros((299, 299, 3), int).tolist()]}
    dicom, tensor = ask("POST", "/v1/models/brain_mri:predict?frame=0", json=body).json()["predictions"]
    assert (dicom["image"], tensor["image"]) == (FIRST, None)


def test_the_open_inference_protocol_says_it_when_asked_and_takes_the_frame_as_parameter(ask: Ask) -> None:
    path = "/v2/models/brain_mri_image/infer"
    source, label = ask("POST", path, json=v2_request(FRAMES, frame=0)).json()["outputs"]
    assert (source["datatype"], source["shape"], label["name"]) == ("BYTES", [1, 1], "label")
    assert source["data"] == [
        '{"format":"DICOM","mode":"MONOCHROME2","bits":12,"frames":5,"frame":0,'
        '"scaling":{"rule":"bit_length","low":0.0,"high":4095.0}}'
    ]
    assert ask("POST", path, json=v2_request(CT)).status_code == 422
    assert ask("POST", path, json=v2_request(CT, force=True)).status_code == 200
    assert ask("POST", path, json=v2_request(FRAMES, frame=-1)).json() == {
        "error": "The parameter frame is -1. Send the number of a frame, counted from 0."
    }


def test_another_part_of_the_body_is_answered_for_when_forced(ask: Ask) -> None:
    refused = predicted(ask, CT)
    assert (refused.status_code, code_of(refused)) == (422, "not_brain_mr")
    assert "of the modality CT" in refused.json()["error"]["message"]
    forced = predicted(ask, CT, "?force=true")
    assert (forced.status_code, forced.json()["image"]["format"]) == (200, "DICOM")


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        ("?frame=5", "5 frames"),
        ("?frame=-1", "0 to 999999"),
        ("?frame=first", "0 to 999999"),
        ("?frame=1000000", "0 to 999999"),
        ("?force=yes", "true, false"),
    ],
)
def test_a_bad_parameter_is_refused_with_its_limit(ask: Ask, query: str, limit: str) -> None:
    response = predicted(ask, FRAMES, query)
    assert (response.status_code, code_of(response)) == (400, "malformed_request")
    assert response.json()["error"]["limit"] == limit
