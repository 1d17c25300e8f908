"""What the service's own pages may load."""

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The value of `Content-Security-Policy`: everything comes from this server, and no script or style is inline."""
