"""The imperative shell, one module per verb: load, decide, record, act."""
