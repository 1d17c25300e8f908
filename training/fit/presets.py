"""Named variations of training images, as the earlier systems had them."""

from typing import Any

_STILL: dict[str, Any] = {
    "framing": {"rotation": 0, "quarter": 0, "flip": 0, "reframe": 0, "stretch": 0, "shift": 0, "zoom": (1.0, 1.0)},
    "augmentation": {"resharpen": 0, "blur": 0, "jpeg": 0, "gamma": 0, "brightness": 0, "noise": 0},
    "styles": {},
    "transplants": {},
}

PRESETS: dict[str, dict[str, Any]] = {
    "none": _STILL,
    "brightness_contrast": _STILL | {"augmentation": _STILL["augmentation"] | {"brightness": 0.2, "contrast": 0.2}},
    "rotation_shift_zoom_flip": _STILL
    | {"framing": _STILL["framing"] | {"rotation": 15, "shift": 0.1, "zoom": (0.9, 1.1), "flip": 0.5}},
}
"""What a recipe's `preset` stands for: values of the fields `framing`, `augmentation`, `styles` and `transplants`."""


def expanded(recipe: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields of a recipe with those of its `preset`, if it names one; what the recipe says itself stays.

    Raises:
        ValueError: There is no such preset; names those that there are.
    """
    fields = dict(recipe)
    preset = fields.pop("preset", None)
    if preset is None:
        return fields
    if preset not in PRESETS:
        raise ValueError(f"there is no preset {preset!r}, only {', '.join(PRESETS)}")
    return PRESETS[preset] | fields
