"""What a model promises: the facts about a released bundle that serving and evaluation rely on."""

LABELS = ("glioma", "meningioma", "notumor", "pituitary")
