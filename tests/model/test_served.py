from collections.abc import Sequence

import pytest

from brainmri.errors import ModelNotFound, NotReady
from brainmri.imaging import DecodeLimits
from brainmri.model.contract import Contract
from brainmri.model.predictor import Predictor
from brainmri.model.served import Models
from tests.batching.stand_in import StandIn
from tests.tiny import contract_parts


def predictor(name: str, serving_name: str, version: str) -> Predictor:
    contract = Contract.from_parts(**contract_parts(name=name, serving_name=serving_name, version=version))
    return Predictor(contract, StandIn(), DecodeLimits())


@pytest.fixture(scope="module")
def served() -> list[Predictor]:
    return [predictor("a", "model_a", "0.2.0"), predictor("b", "model_b", "1.0.0"), predictor("a", "model_a", "0.1.0")]


@pytest.fixture
def models(served: Sequence[Predictor]) -> Models:
    models = Models()
    models.replace(served)
    return models


@pytest.mark.parametrize(
    ("name", "version", "index"),
    [
        ("", "", 0),
        ("a", "", 0),
        ("a", "0.1.0", 2),
        ("b", "", 1),
        ("model_b", "1.0.0", 1),
        ("", "1.0.0", 1),
        ("model_a", "0.1.0", 2),
    ],
)
def test_a_request_chooses_by_name_serving_name_and_version_and_the_first_match_answers(
    models: Models, served: Sequence[Predictor], name: str, version: str, index: int
) -> None:
    assert models.get(name, version) is served[index]


@pytest.mark.parametrize(("name", "version"), [("c", ""), ("a", "9.9.9"), ("b", "0.1.0")])
def test_what_is_not_served_is_refused_with_what_is(models: Models, name: str, version: str) -> None:
    with pytest.raises(ModelNotFound, match=r"is served\. Choose one of a:0\.2\.0, b:1\.0\.0, a:0\.1\.0\.$"):
        models.get(name, version)


def test_without_a_model_every_choice_is_not_ready() -> None:
    models = Models()
    assert (models.ready, models.all()) == (False, ())
    for name in ("", "a"):
        with pytest.raises(NotReady):
            models.get(name)


def test_models_are_replaced_as_a_whole_and_the_first_becomes_the_default(
    models: Models, served: Sequence[Predictor]
) -> None:
    models.replace(served[1:2])
    assert models.default is served[1]
    assert models.all() == (served[1],)
    models.replace(())
    assert not models.ready
