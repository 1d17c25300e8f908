"""Production serving of a brain-MRI slice classifier. Research use only, never a diagnosis."""

__version__ = "1.0.0"
