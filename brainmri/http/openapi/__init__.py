"""The OpenAPI document of the HTTP interface, built from the schemas, errors and limits that the code itself uses."""

from brainmri.http.openapi.document import openapi_document

__all__ = ["openapi_document"]
