"""What a DICOM object says it shows, in words that are DICOM's own: a value that is none of them is never repeated."""

_MR = "MR"

_MODALITIES = frozenset((
    "AR", "AU", "BDUS", "BI", "BMD", "CR", "CT", "CTPROTOCOL", "DG", "DMS", "DOC", "DX", "ECG", "EEG", "EMG", "EOG",
    "EPS", "ES", "FID", "GM", "HC", "HD", "IO", "IOL", "IVOCT", "IVUS", "KER", "KO", "LEN", "LS", "MG", "NM", "OAM",
    "OCT", "OP", "OPM", "OPT", "OPTBSV", "OPTENF", "OPV", "OSS", "OT", "PLAN", "POS", "PR", "PT", "PX", "REG", "RESP",
    "RF", "RG", "RTDOSE", "RTIMAGE", "RTINTENT", "RTPLAN", "RTRAD", "RTRECORD", "RTSEGANN", "RTSTRUCT", "RWV", "SEG",
    "SM", "SMR", "SR", "SRF", "STAIN", "TEXTUREMAP", "TG", "US", "VA", "XA", "XAPROTOCOL", "XC",
))  # fmt: skip
"""Terms of PS3.3, C.7.3.1.1.1, without MR."""

_BODY_PARTS = frozenset((
    "ABDOMEN", "ABDOMENPELVIS", "ADRENAL", "ANKLE", "AORTA", "ARM", "AXILLA", "BACK", "BLADDER", "BREAST", "BRONCHUS",
    "BUTTOCK", "CALCANEUS", "CALF", "CARDIAC", "CERVIX", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "CLAVICLE",
    "COCCYX", "COLON", "CSPINE", "CTSPINE", "DUODENUM", "ELBOW", "ESOPHAGUS", "EXTREMITY", "FEMUR", "FINGER", "FOOT",
    "FOREARM", "GALLBLADDER", "HAND", "HEART", "HIP", "HUMERUS", "ILEUM", "ILIUM", "JEJUNUM", "KIDNEY", "KNEE",
    "LARYNX", "LEG", "LIVER", "LSPINE", "LSSPINE", "LUMBAR", "LUNG", "MEDIASTINUM", "NECK", "NECKCHEST", "OVARY",
    "PANCREAS", "PATELLA", "PELVIS", "PENIS", "PROSTATE", "RECTUM", "RIB", "SCAPULA", "SCROTUM", "SHOULDER", "SPINE",
    "SPLEEN", "SSPINE", "STERNUM", "STOMACH", "TESTIS", "THIGH", "THORAX", "THUMB", "THYMUS", "THYROID", "TIBIA",
    "TLSPINE", "TOE", "TRACHEA", "TSPINE", "URETER", "URETHRA", "UTERUS", "VAGINA", "VULVA", "WRIST",
))  # fmt: skip
"""Terms of PS3.16, annex L, that name a part without the brain."""


def other_modality(value: object) -> str | None:
    """Returns words for a modality other than MR; None for MR, and where none is given."""
    text = _term(value)
    if text in ("", _MR):
        return None
    return f"of the modality {text}" if text in _MODALITIES else "of another modality than MR"


def other_body_part(value: object) -> str | None:
    """Returns words for a part of the body without the brain; None for others, and for what DICOM does not define."""
    text = _term(value)
    return f"of the body part {text}" if text in _BODY_PARTS else None


def _term(value: object) -> str:
    return "" if value is None else str(value).strip().upper()
