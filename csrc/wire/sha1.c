/* sha1.c - see sha1.h. */
#include "wire/sha1.h"

static uint32_t rotate(uint32_t x, unsigned n) { return x << n | x >> (32 - n); }

static uint32_t big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The round function and constant of step t (section 4.1.1, 4.2.1). */
static uint32_t mix(unsigned t, uint32_t b, uint32_t c, uint32_t d) {
    if (t < 20) return ((b & c) | (~b & d)) + 0x5a827999;
    if (t < 40) return (b ^ c ^ d) + 0x6ed9eba1;
    if (t < 60) return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    return (b ^ c ^ d) + 0xca62c1d6;
}

static void block(uint32_t h[5], const uint8_t *p) {
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (unsigned t = 0; t < 16; t++) w[t] = big_endian(p + 4 * t);
    for (unsigned t = 16; t < 80; t++) w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    for (unsigned t = 0; t < 80; t++) {
        uint32_t next = rotate(a, 5) + mix(t, b, c, d) + e + w[t];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

void sha1_hex(span text, char out[40]) {
    static const char digits[] = "0123456789abcdef";
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t tail[128] = {0};
    size_t whole = text.n / 64 * 64, rest = text.n - whole, last = rest < 56 ? 64 : 128;
    for (size_t i = 0; i < whole; i += 64) block(h, (const uint8_t *)text.p + i);
    if (rest) memcpy(tail, text.p + whole, rest);
    tail[rest] = 0x80;
    for (unsigned i = 0; i < 8; i++) tail[last - 1 - i] = (uint8_t)((uint64_t)text.n * 8 >> 8 * i);
    for (size_t i = 0; i < last; i += 64) block(h, tail + i);
    for (unsigned i = 0; i < 40; i++) out[i] = digits[h[i / 8] >> (28 - 4 * (i % 8)) & 15];
}
