"""Studies around released models: classical models on their features, and comparisons."""
