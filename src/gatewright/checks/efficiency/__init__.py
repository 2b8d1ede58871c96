"""Checks of what a model costs to run."""
