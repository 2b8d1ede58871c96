"""Questions about how a model treats groups of people."""
