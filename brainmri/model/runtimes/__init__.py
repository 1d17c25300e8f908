"""What may run a network: one module for each runtime."""
