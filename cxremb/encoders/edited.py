"""Any text encoder, made to read texts whose marks of removed words are dropped or masked."""

from collections.abc import Sequence
from dataclasses import replace

from cxremb.encoders.base import TextEncoder, Vectors
from cxremb.errors import EncoderError
from cxremb.store.texts import MARKS, MASK, RULES, edited


class EditedTexts:
    """Edits each text before the encoder sees it. The recipe says so, and all else of it is the encoder's own."""

    def __init__(self, encoder: TextEncoder, way: str) -> None:
        """way: drop or mask. Raises `EncoderError` if it is to be masked and the encoder has no `mask_token`."""
        token: str | None = getattr(encoder, "mask_token", None) if way == MASK else ""
        if token is None:
            raise EncoderError(
                f"{encoder.recipe.encoder} has no mask token to put in place of XXXX", hint="use --xxxx drop"
            )
        self.encoder, self.way, self.token = encoder, way, token
        how = {"way": way, "rules": RULES, **({"token": token} if token else {})}
        self.recipe = replace(encoder.recipe, input={**encoder.recipe.input, MARKS: how})
        self.licence, self.max_tokens, self.notes = encoder.licence, encoder.max_tokens, encoder.notes

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as it is read; 0 where no word is left."""
        read = self.read(texts)
        there = [text for text in read if text]
        known = iter(self.encoder.lengths(there) if there else ())  # a tokeniser cannot read no text at all
        return [next(known) if text else 0 for text in read]

    def encode(self, texts: Sequence[str]) -> Vectors:
        """The encoder's vectors of the texts as they are read. None of them may be of length 0."""
        return self.encoder.encode(self.read(texts))

    def read(self, texts: Sequence[str]) -> list[str]:
        """The texts as the encoder gets them."""
        return [edited(text, self.way, self.token) for text in texts]
