"""Checks of the data behind a model."""
