"""README and docs as pages: links and anchors lead somewhere, the site shows every page, one table of times."""

import re
from pathlib import Path

import pytest
from PIL import Image

from tests.fixtures.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINKED = [*PAGES, *(ROOT / f"{name}.md" for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY"))]


def find_links(page: Path) -> list[str]:
    """Targets of the links and pictures of a page, without its code."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.S)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)


def list_anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text, found = re.sub(r"```.*?```", "", page.read_text(), flags=re.S), set[str]()
    for heading in re.findall(r"^#+ +(.+?) *$", text, re.M):
        heading = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = name = re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")
        count = 0
        while anchor in found:
            count += 1
            anchor = f"{name}-{count}"
        found.add(anchor)
    return found


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in find_links(page):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in list_anchors(target), link


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_of_the_site_link_only_to_its_pages(page):
    inside = [link for link in find_links(page) if not link.startswith(("http://", "https://"))]
    outside = [link for link in inside if not (page.parent / link).resolve().is_relative_to(ROOT / "docs")]
    assert outside == []


def test_the_navigation_of_the_site_lists_every_page_once():
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    assert sorted(re.findall(r": (\S+\.md)$", nav, re.M)) == sorted(
        str(page.relative_to(ROOT / "docs")) for page in PAGES[1:]
    )


def test_every_picture_of_the_docs_is_shown():
    shown = {(page.parent / link).resolve() for page in PAGES for link in find_links(page)}
    assert [path.name for path in sorted((ROOT / "docs" / "img").iterdir()) if path.resolve() not in shown] == []


def test_the_readme_begins_with_what_a_stranger_looks_for():
    """Two pictures, one of which moves and is small, the commands, the results, three limits; last the papers."""
    text = (ROOT / "README.md").read_text()
    parts = re.split(r"(?m)^## ", text)
    pictures = [
        Image.open(ROOT / link) for link in find_links(ROOT / "README.md") if link.endswith((".webp", ".gif"))
    ]
    assert [getattr(picture, "n_frames", 1) > 1 for picture in pictures] == [False, True]
    assert all(Path(picture.filename).stat().st_size <= 3_000_000 for picture in pictures)
    assert "img" in parts[0] and "```sh" in parts[1] and "|---|" in parts[2]
    assert len(re.findall(r"(?m)^- ", parts[3])) == 3
    assert len(re.findall(r"(?m)^@", text)) == len(re.findall(r"(?m)^  title +=", text)) == 3


def test_the_table_of_times_is_the_same_everywhere():
    pages = [ROOT / "README.md", ROOT / "docs" / "performance.md"]
    tables = [
        re.findall(r"<!-- times: begin -->\n(.*?)<!-- times: end -->", page.read_text(), re.S) for page in pages
    ]
    assert len(tables[0]) == 1 and tables[0] == tables[1]
