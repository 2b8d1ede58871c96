"""Traffic plans: which release answers an endpoint."""
