"""Page tokens are opaque, bound to their question, and checked."""

import base64
import json

import pytest

from vidhub import paging
from vidhub.errors import InvalidArgument


def test_a_token_leads_back_to_its_place():
    token = paging.token("cameras", ("3606", ()), "36060200001321000001")
    assert paging.after("cameras", ("3606", ()), token) == "36060200001321000001"
    assert paging.token("cameras", (), None) == ""
    assert paging.after("cameras", (), "") == ""


def test_a_token_of_another_question_is_refused():
    token = paging.token("cameras", ("3606",), "x")
    for kind, question in (("cameras", ("3607",)), ("grants", ("3606",))):
        with pytest.raises(InvalidArgument, match="PAGE_TOKEN_INVALID"):
            paging.after(kind, question, token)


@pytest.mark.parametrize(
    "token",
    ["x", "====", "é", "AAAA", "A" * 5_000, base64.urlsafe_b64encode(b"[" * 700).decode()]
    + [base64.urlsafe_b64encode(json.dumps(body).encode()).decode() for body in ({}, [], ["cameras"], 7, None)],
)
def test_what_is_no_token_is_refused(token):
    with pytest.raises(InvalidArgument, match="PAGE_TOKEN_INVALID"):
        paging.after("cameras", (), token)


def test_a_page_has_a_size():
    assert (paging.size(0), paging.size(7), paging.size(10**9)) == (100, 7, 1_000)
    with pytest.raises(InvalidArgument, match="PAGE_SIZE_INVALID"):
        paging.size(-1)
