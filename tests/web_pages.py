"""Faults of web pages that a reader would meet: dead links, pictures without words, what would have to be fetched."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
FETCHED_LINKS = {"stylesheet", "icon", "preload", "preconnect", "modulepreload"}  # kinds of <link>


class Page(HTMLParser):
    """What one page links to, names and shows.

    Attributes:
        anchors: set of ids.
        links: list of addresses that a reader can follow.
        files: list of addresses that the browser fetches to show the page.
        silent: list of addresses of pictures without an alternative text.
    """

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.files, self.silent = set(), [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Collect what one tag says."""
        values = {name: value or "" for name, value in attributes}
        self.anchors.update(values[key] for key in ("id", "name") if values.get(key))
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and FETCHED_LINKS & set(values.get("rel", "").split()):
            self.files.append(values.get("href", ""))
        if values.get(FETCHED.get(tag)):
            self.files.append(values[FETCHED[tag]])
        if tag == "img" and not values.get("alt", "").strip():
            self.silent.append(values.get("src", "")[:60])


def faults(folder):
    """Look through all pages of a folder.

    Args:
        folder: with HTML files that link to each other by relative addresses.

    Returns:
        list of sentences, empty if all is well: a link or file that is not there, an anchor that is not there, a
        picture without alternative text, a file that would be fetched from elsewhere.
    """
    folder = Path(folder).resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(folder).as_posix()
        found += [f"{name}: a picture has no alternative text: {source}" for source in page.silent]
        found += [f"{name}: would be fetched from elsewhere: {url}" for url in page.files if _elsewhere(url)]
        for url in dict.fromkeys(page.links + page.files):
            if not _elsewhere(url) and not _leads_somewhere(url, path, pages):
                found.append(f"{name}: leads nowhere: {url}")
    return found


def _elsewhere(url):
    parts = urlsplit(url)
    return bool(parts.netloc or parts.scheme in ("http", "https"))


def _leads_somewhere(url, path, pages):
    parts = urlsplit(url)
    if parts.scheme:  # data:, mailto:
        return True
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.exists():
        return False
    return not (parts.fragment and target in pages) or unquote(parts.fragment) in pages[target].anchors
