"""The root, statements about it, envelopes, signatures, verification."""
