"""The routes of the HTTP interface and its OpenAPI document."""
