"""For instructors: what leaves their hands (``release``) and, later, what comes back.

Imports labutils; of labutils only the command line imports it, when a command asks for it.
"""
