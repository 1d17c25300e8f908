"""What every HTTP route shares: uploads, middleware, API keys, failures, schemas."""
