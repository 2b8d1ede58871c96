"""Thin HTTP edges of the control side: parse, call one operation, render."""
