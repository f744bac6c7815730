"""Channels: the first rule that fits, and none that depends on anybody else's visit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.channels import CHANNELS, channel_of

CASES = [
    ("google", "cpc", "autumn cross-network", "Cross-network"),
    ("amazon.de", "cpc", "", "Paid Shopping"),
    ("letter.example", "ppc", "eshop sale", "Paid Shopping"),
    ("google", "cpm", "", "Paid Search"),
    ("adwords", "", "", "Paid Search"),
    ("ad.doubleclick.net", "display", "", "Display"),
    ("google", "cpm", "", "Paid Search"),
    ("Facebook", "Paid-Social", "", "Paid Social"),
    ("youtube.com", "retargeting", "", "Paid Video"),
    ("", "banner", "", "Display"),
    ("partner.example", "cpa", "", "Paid Other"),
    ("etsy.com", "", "", "Organic Shopping"),
    ("blog.example", "", "shop", "Organic Shopping"),
    ("blog.example", "", "bishop", "Referral"),
    ("blog.example", "", "workshop", "Referral"),
    ("l.facebook.com", "", "", "Organic Social"),
    ("letter", "social media", "", "Organic Social"),
    ("m.youtube.com", "", "", "Organic Video"),
    ("gemini.google.com", "", "", "AI Assistants"),
    ("chatgpt.com", "referral", "", "AI Assistants"),
    ("copilot.microsoft.com", "", "", "AI Assistants"),
    ("google.kz", "", "", "Organic Search"),
    ("yandex.ru", "", "", "Organic Search"),
    ("search.brave.com", "", "", "Organic Search"),
    ("mail.google.com", "", "", "Email"),
    ("october", "e-mail", "", "Email"),
    ("partner.example", "affiliate", "", "Affiliates"),
    ("station.example", "audio", "", "Audio"),
    ("SMS", "", "", "SMS"),
    ("app.example", "web-push", "", "Mobile Push"),
    ("notgoogle.example", "", "", "Referral"),
    ("friend.example", "", "", "Referral"),
    ("", "link", "", "Referral"),
    ("", "", "", "Direct"),
]


@pytest.mark.parametrize(("source", "medium", "campaign", "channel"), CASES)
def test_the_first_rule_that_fits(source: str, medium: str, campaign: str, channel: str) -> None:
    """Paid before organic, assistants before the search engine they live under, the rest by elimination."""
    assert channel_of(source, medium, campaign) == channel


def test_every_channel_can_be_reached() -> None:
    """No rule stands behind another that takes everything."""
    assert {channel for *_, channel in CASES} == set(CHANNELS)


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_anything_has_a_channel(source: str, medium: str, campaign: str) -> None:
    """Whatever a link says: one of the known channels, the same in any letter case."""
    found = channel_of(source, medium, campaign)
    assert found in CHANNELS
