"""Checks of what a model and its environment are known to be vulnerable to."""
