"""What the dashboard is served of: the pinned library, and no way past the content policy."""

import hashlib
import re
from html.parser import HTMLParser

from api.app import STATIC

VENDOR = STATIC / "vendor"
# Each would turn text of the store into markup or code.
UNSAFE = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function|srcdoc"
)
MOST_LINES = 300


def test_each_vendored_file_has_the_hash_that_is_on_record():
    table = (VENDOR / "README.md").read_text()
    recorded = dict(re.findall(r"^\| `([^`]+)` \|.*?`([0-9a-f]{64})`", table, re.MULTILINE))

    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.glob("*.js")
    }

    assert found == recorded
    assert found
    assert {"LICENSE", "NOTICE"} <= {path.name for path in VENDOR.iterdir()}


def test_library_says_its_version_as_its_name_does():
    [path] = VENDOR.glob("lightweight-charts-*.js")

    head = path.read_text()[:300]

    assert f"v{path.stem.removeprefix('lightweight-charts-')}" in head
    assert "Apache License 2.0" in head


def test_page_has_no_script_or_style_of_its_own():
    class Page(HTMLParser):
        within, inline, linked = None, [], []

        def handle_starttag(self, tag, attributes):
            given = dict(attributes)
            self.within = tag
            self.inline += [name for name in given if name == "style" or name.startswith("on")]
            self.linked += [given[name] for name in ("src", "href") if name in given]

        def handle_endtag(self, _):
            self.within = None

        def handle_data(self, data):
            if self.within in {"script", "style"} and data.strip():
                self.inline.append(data)

    page = Page()
    page.feed((STATIC / "index.html").read_text())

    assert page.inline == []
    assert page.linked
    assert all(link.startswith("/static/") for link in page.linked)
    assert all((STATIC.parent / link[1:]).is_file() for link in page.linked)


def test_our_scripts_are_small_and_never_make_markup_of_text():
    scripts = sorted((STATIC / "app").rglob("*.js"))

    assert scripts
    for script in scripts:
        text = script.read_text()
        assert not UNSAFE.search(text), script.name
        assert len(text.splitlines()) <= MOST_LINES, script.name
