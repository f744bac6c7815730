"""The words of visitors' languages: another language is a file, also one of a region."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector import words as module
from collector.words import languages, preferred, words


@pytest.fixture
def regional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installation with a file for Brazil, one for Portuguese and one in which only a script is told."""
    files = tmp_path / "browser" / "words"
    shutil.copytree(Path(module.__file__).with_name("browser") / "words", files)
    for name, title in (("pt-BR", "Brasil"), ("pt", "Portugal"), ("zh-hant", "Taiwan")):
        (files / f"{name}.toml").write_text(f'[privacy]\nheading = "{title}"\n')
    for known in (module._all, module._preferred):
        known.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(module, "__file__", str(tmp_path / "words.py"))
        yield
    for known in (module._all, module._preferred):
        known.cache_clear()


@pytest.mark.usefixtures("regional")
@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("pt-BR,pt;q=0.9,en;q=0.8", "pt-br"),
        ("PT-br", "pt-br"),
        ("pt-AO", "pt"),
        ("pt", "pt"),
        ("en;q=0.5, pt-BR", "pt-br"),
        ("zh-Hant-TW", "zh-hant"),
        ("zh", "en"),
        ("ru-RU", "ru"),
        ("pt-BR;q=0, kk", "kk"),
    ],
)
def test_the_file_of_a_region_comes_before_that_of_its_language(header: str, language: str) -> None:
    """However browser and file write it; without one of the region, that of the language."""
    assert preferred(header) == language


@pytest.mark.usefixtures("regional")
def test_a_file_of_a_region_is_a_language_like_any_other() -> None:
    """It has its own words, and English where it has none."""
    assert {"en", "kk", "pt", "pt-br", "ru", "zh-hant"} == set(languages())
    said = words("pt-br")
    assert (said.language, said("privacy.heading")) == ("pt-br", "Brasil")
    assert said("privacy.save") == words("en")("privacy.save")
