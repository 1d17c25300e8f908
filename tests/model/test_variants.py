from collections.abc import Sequence
from pathlib import Path

import pytest

from brainmri.errors import InvalidBundle, RuntimeUnavailable
from brainmri.model import variants
from brainmri.model.bundle import Bundle
from brainmri.model.contract import Contract
from brainmri.model.variants import VARIANTS, choose, is_installed, require_package
from brainmri.settings import RuntimeChoice
from tests.tiny import contract_parts

OPENVINO = next(variant for variant in VARIANTS if variant.name == "openvino-int8")
TENSORFLOW = next(variant for variant in VARIANTS if variant.name == "keras-f16")


def bundle_of(*runtimes: str) -> Bundle:
    artefacts = [{"runtime": name, "files": {f"{name}/model": "0" * 64}, "bytes": 1} for name in runtimes]
    return Bundle(Path("unread"), Contract.from_parts(**contract_parts(artefacts=artefacts)))


def install_only(monkeypatch: pytest.MonkeyPatch, packages: Sequence[str]) -> None:
    monkeypatch.setattr(variants, "find_spec", lambda package: object() if package in packages else None)


@pytest.mark.parametrize(
    ("carried", "choice", "chosen"),
    [
        (["keras-f16", "openvino-int8"], "auto", "openvino-int8"),
        (["keras-f16", "openvino-f32", "openvino-int8"], "openvino", "openvino-int8"),
        (["keras-f16", "openvino-f32", "openvino-int8"], "openvino-f32", "openvino-f32"),
        (["openvino-f32", "openvino-int8"], "openvino-bf16", "openvino-bf16"),
        (["openvino-f32", "onnx-int8"], "auto", "onnx-int8"),
        (["onnx-f32", "onnx-int8"], "onnx", "onnx-int8"),
        (["litert-f32", "litert-dynamic", "litert-int8"], "litert", "litert-int8"),
        (["litert-f32", "litert-dynamic"], "litert", "litert-dynamic"),
        (["keras-f16", "openvino-int8"], "tensorflow", "keras-f16"),
        (["keras-f16", "openvino-int8"], "tensorflow-bf16", "keras-bf16"),
    ],
)
def test_the_fastest_variant_that_fits_is_chosen(
    carried: list[str], choice: RuntimeChoice, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_only(monkeypatch, ["openvino", "onnxruntime", "ai_edge_litert", "keras", "tensorflow"])
    assert choose(bundle_of(*carried), choice).name == chosen


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [
        (["openvino", "onnxruntime"], "openvino-int8"),
        (["onnxruntime"], "onnx-int8"),
        (["ai_edge_litert", "keras", "tensorflow"], "litert-dynamic"),
        (["keras", "tensorflow"], "keras-f16"),
        # Then the error says how to install the best one.
        ([], "openvino-int8"),
    ],
)
def test_auto_takes_what_is_installed(installed: list[str], chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install_only(monkeypatch, installed)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    bundle = bundle_of("keras-f16", "openvino-int8", "onnx-int8", "litert-dynamic")
    assert choose(bundle, "auto").name == chosen


def test_auto_never_takes_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    install_only(monkeypatch, ["openvino"])
    assert choose(bundle_of("openvino-f32"), "auto").name == "openvino-f32"


def test_auto_takes_onnx_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "has_cuda", lambda: True)
    assert choose(bundle_of("openvino-int8", "onnx-f32"), "auto").name == "onnx-f32"
    assert choose(bundle_of("openvino-int8", "onnx-int8"), "auto").name == "openvino-int8"


def test_a_bundle_without_the_asked_artefact_says_what_it_carries() -> None:
    with pytest.raises(RuntimeUnavailable, match=r"'litert', only keras-f16, openvino-int8.*export-runtimes"):
        choose(bundle_of("keras-f16", "openvino-int8"), "litert")


def test_a_bundle_refuses_an_artefact_that_it_does_not_carry() -> None:
    with pytest.raises(InvalidBundle, match="carries no onnx-f32"):
        bundle_of("openvino-int8").named("onnx-f32")


@pytest.mark.parametrize(
    ("variant", "backend", "absent", "installed"),
    [
        (OPENVINO, "tensorflow", "", True),
        (OPENVINO, "tensorflow", "openvino", False),
        (OPENVINO, "tensorflow", "tensorflow", True),
        (TENSORFLOW, "tensorflow", "", True),
        (TENSORFLOW, "tensorflow", "keras", False),
        (TENSORFLOW, "tensorflow", "tensorflow", False),
        (TENSORFLOW, "jax", "tensorflow", True),
        (TENSORFLOW, "jax", "jax", False),
    ],
)
def test_a_package_is_looked_for_without_an_import(
    variant: variants.Variant, backend: str, absent: str, *, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "find_spec", lambda package: None if package == absent else object())
    monkeypatch.setenv("KERAS_BACKEND", backend)
    assert is_installed(variant) is installed
    if not installed:
        with pytest.raises(RuntimeUnavailable, match=f"runtime {variant.family} is not installed"):
            require_package(variant)


def test_every_choice_of_the_settings_leads_to_a_variant() -> None:
    choices = {variant.choice for variant in VARIANTS} | {variant.family for variant in VARIANTS} | {"auto"}
    assert choices == set(RuntimeChoice.__args__)  # type: ignore[attr-defined]
