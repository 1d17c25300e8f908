"""The page that people use: static files, their routes, and the same files for another host."""
