"""Formulas as MathML, which browsers draw without a script."""

import re

from docutils import nodes
from latex2mathml import converter

ALPHABET = re.compile(r"\\(mathcal|mathbb|mathbf)\s*(\w)")


def setup(app):
    """Make the renderer known to Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def convert(formula, display="inline"):
    r"""MathML of a formula. With braces, ``\mathcal{N}`` becomes a letter of its own; browsers ignore the attribute."""
    return converter.convert(ALPHABET.sub(r"\\\1{\2}", formula), display=display)


def inline(translator, node):
    """Write a formula that stands in a line."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block(translator, node):
    """Write a formula that stands on its own; a narrow window scrolls it."""
    translator.body.append(f'<div class="math block">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode
