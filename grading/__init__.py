"""For instructors: hand out the lessons (``release``), and mark what comes back (``batch``).

``python -m grading`` runs both. This package imports labutils; labutils does not import it.
"""
