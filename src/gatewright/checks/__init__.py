"""Questions asked of a dataset or a model version, and their answers. One file per check."""
