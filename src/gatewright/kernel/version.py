"""The version of this product; the built package takes it from here."""

VERSION = "0.1.0"
