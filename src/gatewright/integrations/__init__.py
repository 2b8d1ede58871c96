"""Ways into and out of other people's tools, one file each: tests, registries, build servers."""
