"""Which language a text is in, by the small model that comes with py3langid (139 languages, no GPU)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from cache.errors import UserError

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# Of 4,920 English rationales (drawn, real, over the published vocabulary, by hand) none is below 0.79. Of 15
# short ones full of borrowed words four go down to 0.02 and one, a French menu, to 0.003. Of 71 in German,
# Spanish, French, Italian, Portuguese, Dutch, Chinese, Japanese, Russian, pinyin or two languages at once
# none is above 0.005.
_LEAST = 0.01
_FEWEST_BYTES = 20  # "Two men." says too little


def check_language(wanted: str) -> None:
    """Raises UserError where `wanted`, an ISO 639-1 code, is a language that cannot be told; "" = any."""
    known = _identifier().labels if wanted else []
    if wanted and wanted not in known:
        raise UserError(
            f"teacher.judge.language {wanted!r}: texts in it cannot be told from others; known are "
            f"{', '.join(code for code in sorted(known) if len(code) == 2)}; leave it empty to take any"
        )


def foreign_language(text: str, wanted: str) -> str | None:
    """The code of the language that `text` is in where it is surely not `wanted`, else None.

    Short texts, names and borrowed words are left alone: what counts is how unlikely `wanted` is.
    """
    if not wanted or len(text.encode()) < _FEWEST_BYTES:
        return None
    found, _ = _identifier().classify(text)
    if found == wanted:
        return None
    likely = dict(_identifier().rank(text))
    return str(found) if likely[wanted] < _LEAST else None


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    # Its numbers come in half precision, which a CPU converts at every use: 67 against 39 us a text.
    identifier.nb_ptc = identifier.nb_ptc.astype("float32")
    return identifier
