"""The console script: serve, predict, score, models, keys, and the measuring of a machine."""
