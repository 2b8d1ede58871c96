"""Contract suites and builders, shipped for third parties."""
