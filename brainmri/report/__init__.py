"""Documents for people: what a model said of images, as one file that needs nothing else."""
