"""Measurements whose results are committed and quoted; see README."""
