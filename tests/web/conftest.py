"""The application in this process."""

from tests.application import ask, predictor, registry

__all__ = ["ask", "predictor", "registry"]
