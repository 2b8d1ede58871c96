"""The rules as code, and what they say of a report."""
