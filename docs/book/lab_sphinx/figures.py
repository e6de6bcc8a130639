"""Alternative texts of figures: MyST-NB keeps them where a cell says them, the lessons keep them with each output."""

import base64
import hashlib
from pathlib import PurePosixPath

import nbformat
from docutils import nodes


def setup(app):
    """Listen for pages that have been read."""
    app.connect("doctree-read", add_alternative_texts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_alternative_texts(app, doctree):
    """Give the pictures of a notebook the texts that stand in its outputs' metadata."""
    path = app.env.doc2path(app.env.docname)
    if path.suffix != ".ipynb":
        return
    texts = {}
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            if picture := output.get("data", {}).get("image/png"):
                name = hashlib.sha256(base64.b64decode(picture)).hexdigest()  # MyST-NB's name for the file
                texts[name] = output.metadata.get("image/png", {}).get("alt", "")
    for image in doctree.findall(nodes.image):
        if text := texts.get(PurePosixPath(image["uri"]).stem):
            image["alt"] = text
