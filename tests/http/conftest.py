"""The application in this process."""

from tests.application import ask, predictor, registry, serve

__all__ = ["ask", "predictor", "registry", "serve"]
