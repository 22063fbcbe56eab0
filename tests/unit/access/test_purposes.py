"""No view without a purpose of the register."""

import pytest

from vidhub.access.purposes import Purposes
from vidhub.errors import InvalidArgument
from vidhub.model import Purpose


@pytest.mark.parametrize(
    ("purpose", "reason"),
    [
        (Purpose(""), "PURPOSE_MISSING"),
        (Purpose("  "), "PURPOSE_MISSING"),
        (Purpose("curiosity"), "PURPOSE_UNKNOWN"),
        (Purpose("investigation"), "PURPOSE_REFERENCE_MISSING"),
        (Purpose("investigation", "  "), "PURPOSE_REFERENCE_MISSING"),
        (Purpose("patrol", "x" * 129), "PURPOSE_TEXT_INVALID"),
        (Purpose("patrol", "", "a\x00b"), "PURPOSE_TEXT_INVALID"),
    ],
)
def test_a_purpose_that_is_none_is_refused(purpose, reason):
    with pytest.raises(InvalidArgument) as caught:
        Purposes().check(purpose)
    assert caught.value.reason == reason


def test_a_purpose_of_the_register_is_tidied():
    assert Purposes().check(Purpose(" investigation ", " A-1 ")) == Purpose("investigation", "A-1")
    assert Purposes().check(Purpose("publish")) == Purpose("publish")


def test_publish_can_not_be_granted():
    assert Purposes().unknown(("patrol", "publish", "x")) == ["publish", "x"]
