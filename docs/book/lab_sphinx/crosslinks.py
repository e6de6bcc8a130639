"""Links that the text does not spell out: "lesson 5", "section 5.7", and names of labutils such as ``plots.show``."""

import importlib
import re

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

PLACE = re.compile(r"\b(?:[Ll]essons?|[Ss]ections?|[Ee]xercises?)[ \u00a0](\d+(?:\.\d+)?)\b")
NUMBERED = re.compile(r"^(?:Exercise )?(\d+(?:\.\d+)?)(?: · | – | )")
ROOM = re.compile(r"(labutils\.)?(\w+)(\.\w+)+(\(.*\))?")

UNTOUCHED = (nodes.reference, nodes.literal, nodes.FixedTextElement, nodes.title, nodes.math, nodes.raw)


def setup(app):
    """Make the transform known to Sphinx."""
    app.add_post_transform(Crosslinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Crosslinks(SphinxPostTransform):
    """Adds the links when all pages are known."""

    default_priority = 800

    def run(self, **kwargs):
        """Link the texts of one page."""
        if self.app.builder.format != "html":
            return
        places = numbered_places(self.env)
        for text in list(self.document.findall(nodes.Text)):
            if not inside(
                text, nodes.reference, nodes.literal, nodes.FixedTextElement, nodes.title, nodes.math, nodes.raw
            ):
                self.link_places(text, places)
        for literal in list(self.document.findall(nodes.literal)):
            if not inside(literal, nodes.reference, nodes.title):
                self.link_name(literal)

    def link_places(self, text, places):
        """Turn "lesson 5" and the like into links; a link to the page itself has only the anchor."""
        parts, end, source = [], 0, text.astext()
        for found in PLACE.finditer(source):
            docname, anchor = places.get(found.group(1), (None, None))
            if docname is None or (docname == self.env.docname and not anchor):
                continue
            parts += [nodes.Text(source[end : found.start()]), self.reference(docname, anchor, found.group())]
            end = found.end()
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(source[end:])])

    def link_name(self, literal):
        """Link a name in code to its entry in the pages of labutils."""
        target = full_name(literal.astext())
        entry = self.env.domains.python_domain.objects.get(target)
        if entry:
            literal.replace_self(self.reference(entry.docname, entry.node_id, literal))

    def reference(self, docname, anchor, content):
        """A link to a place in the book; ``content`` is a text or a node."""
        uri = "" if docname == self.env.docname else self.app.builder.get_relative_uri(self.env.docname, docname)
        node = nodes.reference("", "", internal=True, refuri=f"{uri}#{anchor}".removesuffix("#"))
        node += nodes.Text(content) if isinstance(content, str) else content.deepcopy()
        return node


def inside(node, *kinds):
    """Whether one of a node's ancestors is of such a kind."""
    while node := node.parent:
        if isinstance(node, kinds):
            return True
    return False


def numbered_places(env):
    """Where lessons, sections and exercises stand: dict such as "5.7" → (docname, anchor); a lesson has anchor ''."""
    if not hasattr(env, "lab_places"):
        env.lab_places = {}
        for docname, toc in env.tocs.items():
            for link in toc.findall(nodes.reference):
                if found := NUMBERED.match(link.astext()):
                    env.lab_places.setdefault(found.group(1), (docname, link["anchorname"].lstrip("#")))
    return env.lab_places


def full_name(text):
    """The name under which the pages of labutils know what a text such as ``sampling.reverse_step(…)`` calls; or ''."""
    found = ROOM.fullmatch(text)
    if not found:
        return ""
    try:
        _, room, *names = f"labutils.{text.removeprefix('labutils.').split('(')[0]}".split(".")
        value = importlib.import_module(f"labutils.{room}")
        for name in names:
            value = getattr(value, name)
    except (ImportError, AttributeError):
        return ""
    if not hasattr(value, "__qualname__"):
        return ""
    return f"{value.__module__}.{value.__qualname__}"
