"""Seeds: a hash of named parts, so that no seed depends on the order of trials."""

import hashlib
import json


def named_seed(*parts: str | int, bits: int = 63) -> int:
    """The first `bits` bits of SHA-256 over the parts' canonical JSON, as an integer >= 0.

    63 bits suit torch, 32 suit Optuna and numpy.
    """
    if not parts:
        raise ValueError("a seed needs at least one named part")
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - bits)
