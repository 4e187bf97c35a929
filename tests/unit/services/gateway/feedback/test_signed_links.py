"""Signed links: the bearer of a link may rate, and nothing less than the link will do."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from services.gateway.feedback.signed_links import SignedLinks
from shared.errors import Forbidden

OWN_ID = "0199a0b0-0000-7000-8000-000000000001"


def test_a_link_names_its_request_and_no_part_of_its_signature_does() -> None:
    """A signature that is cut, or that another secret made, is refused."""
    links = SignedLinks(SecretStr("a secret of ours"))
    token = (links.path(OWN_ID) or "").removeprefix("/feedback/")
    assert links.own_id(token) == OWN_ID
    forged = (SignedLinks(SecretStr("another one")).path(OWN_ID) or "").removeprefix("/feedback/")
    for wrong in (forged, token[:-1], token[: len(OWN_ID) + 1], f"{token}0", token.replace(OWN_ID, OWN_ID[:-1] + "2")):
        with pytest.raises(Forbidden):
            links.own_id(wrong)
