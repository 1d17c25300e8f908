"""Programs that build the image, run by the stages of the Containerfile; they need nothing but Python."""
