"""From a trained network to a released bundle: export, calibrate, evaluate, describe."""
