"""Through which kind of door a visit came: the first row of RULES that fits its source, medium and campaign.

The order and the conditions follow GA4's default channel group, with AI assistants before search engines
because some live under a search engine's name.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

# Kind → hosts, longest match first, and names as campaigns spell them. A name without a dot fits any host
# that has it as a label: google.com, www.google.kz.
_SOURCES = {
    "ai": """
        chatgpt.com chat.openai.com claude.ai gemini.google.com copilot.microsoft.com perplexity.ai
        chat.deepseek.com grok.com chat.mistral.ai meta.ai poe.com you.com chatgpt claude gemini copilot
        perplexity deepseek grok
    """,
    "video": "youtube youtu.be vimeo twitch dailymotion rutube bilibili nicovideo",
    "social": """
        facebook fb.com instagram ig threads twitter t.co x.com linkedin lnkd.in pinterest reddit tiktok vk
        ok.ru tumblr snapchat mastodon mastodon.social bsky.app telegram t.me whatsapp wa.me weibo quora
        news.ycombinator.com
    """,
    "shopping": "amazon ebay etsy aliexpress alibaba shopify walmart kaspi.kz ozon wildberries rakuten",
    "email": "email e-mail e_mail mail.google.com mail.yahoo.com outlook.live.com mail.ru newsletter",
    "sms": "sms",
    "search": """
        google bing yahoo duckduckgo yandex baidu ecosia qwant startpage naver seznam sogou search.brave.com
        kagi go.mail.ru ask.com swisscows mojeek
    """,
    "paid": "adwords googleads doubleclick.net googlesyndication.com",
}
_KIND_OF = {name: kind for kind, names in _SOURCES.items() for name in names.split()}

_PAID = re.compile(r".*cp.*|ppc|retargeting|paid.*", re.DOTALL)
_SHOPPING = re.compile(r".*(([^a-df-z]|^)shop|shopping).*", re.DOTALL)
_DISPLAY = ("display", "banner", "expandable", "interstitial", "cpm")


@dataclass(frozen=True)
class Source:
    """Where a visit says that it came from, in lower case."""

    name: str
    """A campaign's source, or the host that linked; empty where there is neither."""
    medium: str
    campaign: str

    @property
    def kind(self) -> str:
        """What is known of the name; empty for any other site."""
        labels = self.name.split(".")
        suffixes = [".".join(labels[n:]) for n in range(len(labels))]
        return next((_KIND_OF[each] for each in (*suffixes, *labels) if each in _KIND_OF), "")

    @property
    def is_paid(self) -> bool:
        """Whether somebody paid for the visit."""
        return bool(_PAID.fullmatch(self.medium)) or self.kind == "paid"

    @property
    def is_search(self) -> bool:
        """Whether it came from a search engine, or from what is advertised beside its results."""
        return self.kind == "search" or (self.kind == "paid" and self.medium not in _DISPLAY)

    @property
    def is_shopping(self) -> bool:
        """Whether it came from a shop, or from a campaign of one."""
        return self.kind == "shopping" or bool(_SHOPPING.fullmatch(self.campaign))


_SOCIAL = ("social", "social-network", "social-media", "sm", "social network", "social media")
_EMAIL = ("email", "e-mail", "e_mail", "e mail")
_REFERRAL = ("referral", "app", "link")

RULES: tuple[tuple[str, Callable[[Source], bool]], ...] = (
    ("Cross-network", lambda of: "cross-network" in of.campaign),
    ("Paid Shopping", lambda of: of.is_shopping and of.is_paid),
    ("Paid Search", lambda of: of.is_search and of.is_paid),
    ("Paid Social", lambda of: of.kind == "social" and of.is_paid),
    ("Paid Video", lambda of: of.kind == "video" and of.is_paid),
    ("Display", lambda of: of.medium in _DISPLAY),
    ("Paid Other", lambda of: of.is_paid),
    ("Organic Shopping", lambda of: of.is_shopping),
    ("Organic Social", lambda of: of.kind == "social" or of.medium in _SOCIAL),
    ("Organic Video", lambda of: of.kind == "video" or "video" in of.medium),
    ("AI Assistants", lambda of: of.kind == "ai"),
    ("Organic Search", lambda of: of.kind == "search" or of.medium == "organic"),
    ("Email", lambda of: of.kind == "email" or of.medium in _EMAIL),
    ("Affiliates", lambda of: of.medium == "affiliate"),
    ("Audio", lambda of: of.medium == "audio"),
    ("SMS", lambda of: of.kind == "sms" or of.medium == "sms"),
    (
        "Mobile Push",
        lambda of: of.medium.endswith("push") or "mobile" in of.medium or "notification" in of.medium,
    ),
    ("Referral", lambda of: bool(of.name) or of.medium in _REFERRAL),
    ("Direct", lambda of: True),
)
"""Channel and its condition, in order: the first that fits."""

CHANNELS = tuple(channel for channel, _ in RULES)


def channel_of(source: str, medium: str, campaign: str) -> str:
    """The channel of a visit.

    Takes   source: a campaign's source, or the host that linked; each empty where there is none
    """
    of = Source(source.lower(), medium.lower(), campaign.lower())
    return next(channel for channel, fits in RULES if fits(of))
