"""The shared vocabulary: digests, canonical JSON, names, instants and the error tree.

Nothing here does I/O or reads the clock; a function that is not about one of these nouns has no
home here.
"""
