"""Documents as values, built from evidence: bytes out, nothing written."""
