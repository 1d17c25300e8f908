"""Admission, the queue, and the threads that run batches."""
