"""Obvious, slow versions of everything, to test against."""
