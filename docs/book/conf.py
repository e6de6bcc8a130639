"""Sphinx configuration of the book. ``python -m lab book`` gathers its pages and builds it."""

# Which theme? Measured with the versions of constraints.txt:
#
#                       installed   beside a page   fonts and scripts
# furo                    0.7 MB        0.3 MB      the system's fonts; two small scripts
# pydata-sphinx-theme     3.8 MB        3.1 MB      Bootstrap and Font Awesome
# sphinx-book-theme       5.3 MB        4.6 MB      the same, it builds on pydata-sphinx-theme
#
# furo: a page opens at once, is readable without scripts, prints well, and has a light and a dark version. All three
# fetch nothing from the network.

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "Introduction to Stable Diffusion Models"
code = (HERE.parents[1] / "labutils" / "__init__.py").read_text(encoding="utf-8")
version = release = re.search(r'__version__ = "(.+)"', code).group(1)
author = "the authors of the lab"
copyright = "the authors of the lab, MIT licence"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "lab_sphinx.mathml",
    "lab_sphinx.cells",
]
exclude_patterns = ["downloads"]  # notebooks to take away, not pages
suppress_warnings = ["ref.python"]  # names after "Returns:" are taken for types, and some have several meanings
nb_execution_mode = "off"  # the notebooks bring their outputs
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_update_mathjax = False
myst_heading_anchors = 3
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Sources", "Source"]

html_theme = "furo"
html_title = project
html_static_path = ["static"]
html_css_files = ["lab.css"]
html_js_files = ["lab.js"]
html_theme_options = {"top_of_page_buttons": []}
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # it would fetch pages, which browsers refuse for file://
html_use_index = True
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

SOURCES = re.compile(r"^Sources?:\n(?: {4}.*\n?)+", re.MULTILINE)


def setup(app):
    """Listen for docstrings, before napoleon reads them."""
    app.connect("autodoc-process-docstring", translate, priority=400)


def translate(app, what, name, value, options, lines):
    """Keep |x| an absolute value, which Sphinx takes for a substitution, and make a list of the sources."""
    text = re.sub(r"(?<![`|])\|(\w+)\|", r"\\|\1\\|", "\n".join(lines))
    lines[:] = SOURCES.sub(as_list, text).split("\n")


def as_list(found):
    """Give each source a bullet; a deeper line continues the one before it."""
    return re.sub(r"^ {4}(?=\S)", "    - ", found.group(), flags=re.MULTILINE).replace("\n        ", "\n      ")
