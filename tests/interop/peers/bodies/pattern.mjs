// What pattern.py makes.
const BLOCK_BYTES = 65521;
const BLOCK = Buffer.alloc(BLOCK_BYTES);
let state = 1n;
for (let at = 0; at < BLOCK_BYTES; at++) {
  state = (state * 1103515245n + 12345n) % 2n ** 31n;
  BLOCK[at] = Number((state >> 16n) & 0xffn);
}

export function* pattern(size) {
  for (; size > 0; size -= BLOCK_BYTES) yield BLOCK.subarray(0, Math.min(size, BLOCK_BYTES));
}
