"""XXH64 with seed 0, the hash by which `limit_ratio` chooses, as specified at https://xxhash.com.

Slow, a few microseconds for a label set; done once for each.
"""

from __future__ import annotations

__all__ = ["xxhash64"]

MASK = 2**64 - 1
P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def xxhash64(data: bytes) -> int:
    """The hash of these bytes."""
    n, at = len(data), 0
    if n >= 32:
        lanes = [(P1 + P2) & MASK, P2, 0, -P1 & MASK]
        while at + 32 <= n:
            for lane in range(4):
                lanes[lane] = _round(lanes[lane], int.from_bytes(data[at : at + 8], "little"))
                at += 8
        total = sum(_rotate(value, by) for value, by in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for value in lanes:
            total = ((total ^ _round(0, value)) * P1 + P4) & MASK
    else:
        total = P5
    total = (total + n) & MASK
    while at + 8 <= n:
        total ^= _round(0, int.from_bytes(data[at : at + 8], "little"))
        total = (_rotate(total, 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= n:
        total ^= (int.from_bytes(data[at : at + 4], "little") * P1) & MASK
        total = (_rotate(total, 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        total = (_rotate(total ^ (byte * P5 & MASK), 11) * P1) & MASK
    for shift, prime in ((33, P2), (29, P3), (32, 1)):
        total = ((total ^ (total >> shift)) * prime) & MASK
    return total


def _round(lane: int, value: int) -> int:
    return _rotate((lane + value * P2) & MASK, 31) * P1 & MASK


def _rotate(value: int, by: int) -> int:
    return ((value << by) | (value >> (64 - by))) & MASK
