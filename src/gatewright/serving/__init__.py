"""The data plane: verifies releases itself and answers predictions."""
