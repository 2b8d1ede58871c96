"""What runs in the owner's own environment: converters, one file per library."""
