"""From a folder of slices to a released bundle: audit, split, train, evaluate, export, register."""
