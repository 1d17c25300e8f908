import pytest

from brainmri.errors import BrainMRIError, ImageTooLarge, Overloaded
from brainmri.web.failures import all_or_error


def test_what_is_wrong_with_an_image_says_which_one_and_keeps_its_class_and_limit() -> None:
    with pytest.raises(ImageTooLarge, match=r"^Instance 0: Too large\.$") as caught:
        all_or_error([ImageTooLarge("Too large.", limit="9 bytes"), BrainMRIError("Later.")], "Instance {}".format)
    assert caught.value.limit == "9 bytes"


def test_another_error_is_raised_as_it_is() -> None:
    error = Overloaded("Full.", retry_after_s=2.5)
    with pytest.raises(Overloaded) as caught:
        all_or_error([error], "Instance {}".format)
    assert caught.value is error
