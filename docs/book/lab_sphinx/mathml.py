"""Formulas as MathML, which browsers draw without a script."""

from docutils import nodes
from latex2mathml.converter import convert


def setup(app):
    """Make the renderer known to Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def inline(translator, node):
    """Write a formula that stands in a line."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block(translator, node):
    """Write a formula that stands on its own; a narrow window scrolls it."""
    translator.body.append(f'<div class="math block">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode
