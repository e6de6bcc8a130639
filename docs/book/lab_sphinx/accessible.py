"""Two places in the HTML of the theme and of MyST-NB that screen readers cannot use as they are."""


def setup(app):
    """Listen for pages that are about to be written, after the theme has prepared them."""
    app.connect("html-page-context", mend, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def mend(app, pagename, templatename, context, doctree):
    """Captions of the navigation get the level of a heading; what opens a solution is called what it says."""
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')
    if "body" in context:
        context["body"] = context["body"].replace(' aria-label="Toggle hidden content"', "")
