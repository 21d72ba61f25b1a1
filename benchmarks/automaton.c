/* Stage 8 in plain C, on one core, for comparison.
   A word holds 32 cells: cell lane * num_words + word is bit `lane` of word
   `word`. The left neighbor of a cell is the same bit of the word before, the
   right neighbor the same bit of the word after. The word before the first is
   the last one, rotated by one bit. */
#include <stddef.h>
#include <stdint.h>

enum { LANES = 32 };

static uint32_t choose(uint32_t bits, uint32_t dead, uint32_t live) {
    return dead ^ (bits & (dead ^ live));
}

static void step(uint32_t *restrict words, uint32_t *restrict next, size_t n,
                 const uint32_t table[8]) {
    words[0] = words[n] << 1 | words[n] >> (LANES - 1);
    words[n + 1] = words[1] >> 1 | words[1] << (LANES - 1);
    for (size_t i = 1; i <= n; i++) {
        uint32_t by_right[4];
        for (int k = 0; k < 4; k++)
            by_right[k] = choose(words[i + 1], table[2 * k], table[2 * k + 1]);
        uint32_t dead = choose(words[i], by_right[0], by_right[1]);
        uint32_t live = choose(words[i], by_right[2], by_right[3]);
        next[i] = choose(words[i - 1], dead, live);
    }
}

/* Write the cells before each step to `states`, one byte for each cell.
   `words` and `next` have room for n + 2 words. All of `words` must be 0. */
void simulate(int rule, size_t n, size_t num_steps, uint32_t *words,
              uint32_t *next, uint8_t *states) {
    uint32_t table[8];
    for (int k = 0; k < 8; k++) table[k] = -(uint32_t)(rule >> k & 1);
    words[1] = (uint32_t)1 << LANES / 2; /* the middle of LANES * n cells */
    for (size_t t = 0; t < num_steps; t++) {
        for (int lane = 0; lane < LANES; lane++)
            for (size_t i = 1; i <= n; i++) *states++ = words[i] >> lane & 1;
        step(words, next, n, table);
        uint32_t *previous = words;
        words = next, next = previous;
    }
}
