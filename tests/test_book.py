"""The book: nothing is missing, dead or fetched; solutions are behind a click; faults are found."""

import importlib
import re
from pathlib import Path

import nbformat
import pytest
from conftest import reason
from web_pages import faults

from lab import address, book, lessons

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def write_lesson(path, *cells):
    """A notebook with a title, a setup cell and these cells."""
    setup = nbformat.v4.new_code_cell("import labutils", metadata={"tags": ["setup"]})
    title = nbformat.v4.new_markdown_cell("# 1 · A lesson")
    badges = nbformat.v4.new_markdown_cell("badges", metadata={"tags": ["badges"]})
    notebook = nbformat.v4.new_notebook(cells=[title, badges, setup, *cells], metadata=KERNEL)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def one_lesson(monkeypatch, tmp_path):
    """A book with a single lesson and without the pages of labutils; the test writes the lesson to this path."""
    name = lessons.LESSONS[0]
    monkeypatch.setattr(book, "LESSONS", (name,))
    monkeypatch.setattr(book, "rooms", lambda: [])
    for module in (book, lessons):
        monkeypatch.setattr(module, "NOTEBOOK_DIR", tmp_path / "notebooks")
    return tmp_path / "notebooks" / f"{name}.ipynb"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The book of the committed notebooks: (folder, faults)."""
    index, problems = book.build_book(tmp_path_factory.mktemp("book") / "pages")
    return index.parent, problems + faults(index.parent)


def test_the_book_has_no_faults(whole):
    assert whole[1] == []


def test_every_lesson_is_complete(whole):
    folder, _ = whole
    index = (folder / "index.html").read_text(encoding="utf-8")
    for lesson in lessons.LESSONS:
        text = (folder / f"{lesson}.html").read_text(encoding="utf-8")
        notebook = nbformat.read(lessons.NOTEBOOK_DIR / f"{lesson}.ipynb", as_version=4)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        assert len(re.findall('src="_images/', text)) >= sum("image/png" in o.get("data", {}) for o in outputs)
        solutions = sum(bool(cell.metadata.get("nbgrader", {}).get("solution")) for cell in notebook.cells)
        assert len(re.findall("Show the solution", text)) == solutions >= 2
        assert len(re.findall("Show the setup code", text)) == 1
        assert "BEGIN SOLUTION" not in re.sub(r"<details.*?</details>", "", text, flags=re.DOTALL)
        assert "All tests in" in text and "tag_check" in text and "<math" in text
        assert not re.search(
            r"\\(frac|sqrt|alpha|beta|hat|bar)\b", re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)
        )
        assert f'href="{lesson}.html"' in index
        for name in (f"{lesson}.ipynb", f"{lesson}.py"):
            assert list(folder.glob(f"_downloads/*/{name}")), name
        sizes = [path.stat().st_size for path in folder.glob(f"_downloads/*/{lesson}.ipynb")]
        assert len(sizes) == 2, "the notebook, and the one for Colab"


def test_lessons_lead_to_each_other_and_labutils_is_described(whole):
    folder, _ = whole
    text = (folder / "05_sampling.html").read_text(encoding="utf-8")
    assert re.search(r'href="02_forward_noising.html[^"]*">(<span[^>]*>)?lesson 2<', text)
    described = (folder / "api" / "sampling.html").read_text(encoding="utf-8")
    assert 'id="labutils.sampling.reverse.reverse_step"' in described
    assert "Parameters" in described and "Raises" in described
    assert "<strong>Sources" in (text := (folder / "api" / "metrics.html").read_text("utf-8")) or ">Sources<" in text


def test_the_search_needs_no_server(whole):
    folder, _ = whole
    assert (folder / "searchindex.js").read_text(encoding="utf-8").startswith("Search.setIndex(")
    options = (folder / "_static" / "documentation_options.js").read_text(encoding="utf-8")
    assert "SHOW_SEARCH_SUMMARY: false" in options  # a summary would be fetched


@pytest.mark.slow
def test_first_page_of_a_run(one_lesson, tmp_path):
    write_lesson(one_lesson, nbformat.v4.new_code_cell("1 / 0"))
    run = {"preset": "smoke", "dataset": "digits", "results": [(one_lesson.stem, "0:03 min", "ZeroDivisionError: x")]}
    index, problems = book.build_book(tmp_path / "out", {one_lesson.stem: one_lesson}, run)
    text = index.read_text(encoding="utf-8")
    assert problems == []
    assert "failed" in text and "ZeroDivisionError" in text and "smoke" in text and "0:03 min" in text


def test_faults_of_a_lesson_are_found(one_lesson, tmp_path, capsys):
    picture = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"})
    text = "[a link](06_nowhere.ipynb) ![](https://example.org/a.png) <a href='#nowhere'>there</a>"
    write_lesson(one_lesson, nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("1", outputs=[picture]))
    index, problems = book.build_book(tmp_path / "out")
    assert "06_nowhere.ipynb" in "\n".join(problems)
    text = "\n".join(problems + faults(index.parent))
    for fault in ("06_nowhere.ipynb", "no alternative text", "fetched from elsewhere", "leads nowhere: #nowhere"):
        assert fault in text
    book.report(index, problems)
    assert capsys.readouterr().out.splitlines()[-1] == f"Open {index}"


def test_without_sphinx_the_earlier_book_stays(one_lesson, tmp_path, monkeypatch):
    write_lesson(one_lesson)
    earlier = tmp_path / "out" / "index.html"
    earlier.parent.mkdir()
    earlier.write_text("earlier")
    monkeypatch.setattr(book, "call_sphinx", lambda *folders: ["No module named sphinx"])
    assert book.build_book(tmp_path / "out") == (None, ["No module named sphinx"])
    assert earlier.read_text() == "earlier"


@pytest.mark.parametrize("repository", ["", "https://github.com/someone/lab"])
def test_colab_is_linked_once_the_address_is_known(repository, monkeypatch):
    monkeypatch.setattr(address, "recorded_address", lambda: (repository, "v2"))
    monkeypatch.syspath_prepend(book.BOOK_DIR)
    row = importlib.import_module("lab_sphinx.cells").links("05_sampling")
    colab = "[open in Colab](https://colab.research.google.com/github/someone/lab/blob/v2/notebooks/05_sampling.ipynb)"
    assert (colab in row) == bool(repository)
    assert row.count("http") == bool(repository), "no other address"
    assert "shields" not in row and "![" not in row


GOOD = (
    '<html><body><a href="b.html#here">b</a><img src="data:x" alt="a digit"><a href="mailto:a@b.c">w</a></body></html>'
)


def test_faults_of_pages(tmp_path):
    (tmp_path / "a.html").write_text(GOOD)
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1><a href="a.html">a</a><a href="https://arxiv.org">x</a>')
    assert faults(tmp_path) == []
    (tmp_path / "c.html").write_text(
        '<a href="d.html">d</a><a href="b.html#there">b</a><img src="x.png" alt=""><script src="https://cdn/x.js"></script>'
    )
    assert faults(tmp_path) == [
        "c.html: a picture has no alternative text: x.png",
        "c.html: would be fetched from elsewhere: https://cdn/x.js",
        "c.html: leads nowhere: d.html",
        "c.html: leads nowhere: b.html#there",
        "c.html: leads nowhere: x.png",
    ]


def test_nothing_of_the_book_is_fetched():
    for path in Path(book.BOOK_DIR).rglob("*"):
        if path.suffix in (".css", ".js", ".jinja", ".md"):
            assert not re.search(r"(src|url\(|import)[^\n]*https?:", path.read_text(encoding="utf-8")), path


# ---- In Chromium

SERIOUS = ("serious", "critical")
VIEWS = {
    "wide, light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "400 pixels, dark": {"viewport": {"width": 400, "height": 850}, "color_scheme": "dark"},
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_pages_fit_and_are_accessible(chromium, whole, view):
    """No page is wider than its window, and axe's rules find nothing serious."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=reason("requirements-browser.txt"))
    page = chromium.new_context(**view).new_page()
    wide, found = [], []
    for name in ("index", *lessons.LESSONS, "api/sampling", "search"):
        page.goto((whole[0] / f"{name}.html").as_uri())
        root = page.locator("html")
        if root.evaluate("e => e.scrollWidth > e.clientWidth + 1"):
            wide.append(name)
        # The theme hides what stands out of the page, so the boxes of the outputs are asked, too.
        cut = "boxes => boxes.some(b => b.scrollWidth > b.clientWidth + 1 && getComputedStyle(b).overflowX !== 'auto')"
        if page.locator(".cell_output .text_html").evaluate_all(cut):
            wide.append(f"{name}, an output")
        violations = axe.Axe().run(page).response["violations"]
        found += [(name, v["id"], v["nodes"][0]["html"][:160]) for v in violations if v["impact"] in SERIOUS]
    assert wide == [] and found == []


def test_print_leaves_the_navigation_out(chromium, whole):
    page = chromium.new_page()
    page.goto((whole[0] / f"{lessons.LESSONS[1]}.html").as_uri())
    page.emulate_media(media="print")
    assert not page.locator(".sidebar-drawer").is_visible() and page.locator("article h1").is_visible()
