"""Signatures of Standard Webhooks (standardwebhooks.com, specification 1.0). Pure.

What is signed is the id, the time of the attempt and the bytes as they are sent. A key is never shown: not by an
error, not by anything else here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from engine.secrets import Secret

__all__ = ["KEY_BYTES_MIN", "SECRETS_MAX", "keys_of", "signed_headers"]

KEY_BYTES_MIN: Final = 24
"""What the specification asks for (192 bits)."""
SECRETS_MAX: Final = 8
_PREFIX: Final = "whsec_"


def keys_of(secrets: Sequence[Secret]) -> tuple[bytes, ...]:
    """The keys of secrets, each written as `whsec_` and base64.

    Raises:
        ValueError: One is not written like that, or too short, or there are too many of them.
    """
    if len(secrets) > SECRETS_MAX:
        raise ValueError(f"secrets: at most {SECRETS_MAX}, not {len(secrets)}")
    return tuple(_key(secret.reveal(), number) for number, secret in enumerate(secrets, 1))


def _key(text: str, number: int) -> bytes:
    coded = text.removeprefix(_PREFIX)
    try:
        # Padding may be left out, as the reference implementations have it.
        key = base64.b64decode(coded + "=" * (-len(coded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < KEY_BYTES_MIN:
        raise ValueError(
            f"secrets: number {number} is not base64 of at least {KEY_BYTES_MIN} bytes; "
            'make one with: echo "whsec_$(openssl rand -base64 32)"'
        )
    return key


def signed_headers(keys: Sequence[bytes], message_id: str, time_s: int, body: bytes) -> dict[str, str]:
    """The headers that tell a message's id, the time of this attempt and, with keys, its signatures: one for each key,
    so that a receiver may know the old or the new one while keys are exchanged (F52)."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(time_s)}
    if keys:
        content = f"{message_id}.{time_s}.".encode() + body
        headers["webhook-signature"] = " ".join(
            "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys
        )
    return headers
