"""The life of a serving process: loading, following activations, signs of life, an orderly end."""
