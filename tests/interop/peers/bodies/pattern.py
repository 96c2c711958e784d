"""Bytes that every peer makes by itself: a block of 65,521 from a linear congruential generator, again and again."""

BLOCK_BYTES = 65521


def _block():
    state, block = 1, bytearray()
    for _ in range(BLOCK_BYTES):
        state = (state * 1103515245 + 12345) % 2**31
        block.append(state >> 16 & 0xFF)
    return bytes(block)


BLOCK = _block()


def pattern(size):
    """`size` bytes in pieces."""
    while size > 0:
        yield BLOCK[:size]
        size -= BLOCK_BYTES
