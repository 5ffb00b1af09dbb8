"""Which collections an encoder has seen before: its figures there are no external ones."""

from cxremb.encoders.table import ENCODERS
from cxremb.store.kinship import kinship

# Short name of an encoder -> collections whose films or reports its weights were trained on, by their adapters.
# torchxrayvision: Cohen et al. 2022; RAD-DINO: Perez-Garcia et al. 2025; CXR-BERT: Boecking et al. 2022;
# MedSigLIP: Sellergren et al. 2025. Bio_ClinicalBERT: Alsentzer et al. 2019, on notes of MIMIC-III, of
# patients who are those of MIMIC-CXR in part.
PRETRAINED = {
    "chest_all": ("nih", "rsna", "padchest", "chexpert", "mimic_cxr", "iu_xray"),
    "chest_nih": ("nih",),
    "chest_padchest": ("padchest",),
    "chest_chexpert": ("chexpert",),
    "chest_rsna": ("rsna",),
    "chest_mimic_nb": ("mimic_cxr",),
    "chest_mimic_ch": ("mimic_cxr",),
    "rad_dino": ("mimic_cxr", "chexpert", "nih", "padchest", "brax"),
    "medsiglip": ("mimic_cxr",),
    "cxr_bert": ("mimic_cxr",),
    "clinicalbert": ("mimic_cxr",),
}


def short_of(encoder: str, model: str = "") -> str:
    """The name in the table of encoders that a store's encoder has, also where it was asked for by ORG/MODEL."""
    named = (name for name, spec in ENCODERS.items() if model and "/" in model and spec.model == model)
    return encoder if encoder in PRETRAINED else next(named, encoder)


def seen_before(encoder: str, collection: str, *, model: str = "") -> str | None:
    """What an encoder has seen of a collection, in words; None if nothing is known of it.

    model: as the store's recipe has it.
    """
    name = short_of(encoder, model)
    found = next((one for one in PRETRAINED.get(name, ()) if kinship(one, collection)), None)
    if found is None:
        return None
    same = "" if found == collection else f", and {kinship(found, collection)}"
    return f"{name} was trained on {found}{same}"
