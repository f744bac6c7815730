"""What the demo's site shows, and what its simulated visitors know of it."""

from collector.simulate import Site

ARTICLES = {
    "reading-clouds": "Reading clouds",
    "siting-a-rain-gauge": "Siting a rain gauge",
    "beaufort-scale": "The Beaufort scale",
    "dew-point": "What the dew point tells",
}
CLOUDS = ("cirrus", "cumulus", "stratus")
PRODUCTS = {
    1: (
        "Rain gauge",
        "Glass tube and copper funnel, 127 mm across, read to a tenth of a millimetre.",
        "€ 38",
    ),
    2: ("Diary", "Ruled for 366 days: a line a day, and a page for each month's means.", "€ 14"),
    3: ("Wind streamer", "A strip of light cloth that lifts at Beaufort 1 and stands at 5.", "€ 9"),
}
MONTHS = (
    ("January", 1.2, 58),
    ("February", 2.0, 44),
    ("March", 5.3, 49),
    ("April", 9.4, 41),
    ("May", 13.8, 62),
    ("June", 16.9, 70),
    ("July", 18.9, 76),
    ("August", 18.5, 68),
    ("September", 14.4, 52),
    ("October", 9.9, 54),
    ("November", 5.2, 57),
    ("December", 2.2, 63),
)

_ARTICLES = tuple(f"/articles/{slug}" for slug in ARTICLES)
_PRODUCTS = tuple(f"/shop/product/{number}" for number in PRODUCTS)
_CLOUDS = tuple(f"/clouds/{cloud}" for cloud in CLOUDS)
_MENU = ("/articles", "/clouds", "/almanac", "/shop", "/about")

SITE = Site(
    links={
        "/": (*_ARTICLES[:3], *_MENU),
        "/articles": (*_ARTICLES, *_ARTICLES, "/shop"),
        **dict.fromkeys(_ARTICLES, ("/articles", *_MENU, "/")),
        **dict.fromkeys(("/clouds", *_CLOUDS), _MENU),
        "/almanac": ("/articles", "/"),
        "/about": ("/", "/articles"),
        "/shop": (*_PRODUCTS, *_PRODUCTS, "/about"),
        **dict.fromkeys(_PRODUCTS, ("/shop", "/shop/basket")),
        "/shop/basket": ("/shop", "/"),
    },
    entries={"/": 46, **dict.fromkeys(_ARTICLES, 9), "/shop": 8, "/clouds": 6, "/almanac": 4},
    scripted={"/clouds": _CLOUDS},
    events={"/about": "newsletter", **dict.fromkeys(_PRODUCTS, "add to basket")},
    outbound={"/about": "wmo.int"},
    other={"/static/style.css": 200, "/api/observations": 200, "/blog": 301, "/articles/lost": 404},
)
