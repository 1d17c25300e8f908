from brainmri.model.bundle import Bundle
from brainmri.model.contract import Contract
from brainmri.model.predictor import Predictor
from tests.application import Ask, code_of
from tests.web.test_call import second_model

FIRST = {
    "name": "brain_mri_xception",
    "version": "0.0.1",
    "runtime": "openvino-f32",
    "serving_name": "brain_mri",
    "default": True,
}
SECOND = {**FIRST, "version": "0.0.2", "default": False}


def test_the_contract_the_card_and_the_served_models_are_shown(ask: Ask, tiny_bundle: Bundle) -> None:
    body = ask("GET", "/model").json()
    assert (body.pop("card"), body.pop("runtime"), body.pop("served")) == ("# Tiny\n", "openvino-f32", [FIRST])
    assert body.pop("figures") is None
    assert Contract.from_parts(**body) == tiny_bundle.contract


def test_a_model_is_chosen_by_name_and_version(ask: Ask, predictor: Predictor) -> None:
    served = [predictor, second_model(predictor, "0.0.2")]
    body = ask("GET", "/model?name=brain_mri&version=0.0.2", served=served).json()
    assert (body["version"], body["served"]) == ("0.0.2", [FIRST, SECOND])
    missing = ask("GET", "/model?version=3", served=served)
    assert (missing.status_code, code_of(missing)) == (404, "model_not_found")


def test_the_served_models_are_listed_the_default_first(ask: Ask, predictor: Predictor) -> None:
    served = [predictor, second_model(predictor, "0.0.2")]
    assert ask("GET", "/models", served=served).json() == {"models": [FIRST, SECOND]}
    assert ask("GET", "/models", served=()).json() == {"models": []}
