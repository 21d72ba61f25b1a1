/* The rule on packed words, in plain C on one core, to compare with.

   As in stage 8: cell lane * num_words + word is bit `lane` of that word, so
   the neighbors of a word's cells are in the neighboring words. At the seam,
   the last word meets the first, rotated by one bit. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 32 };

static uint32_t choose(uint32_t bits, uint32_t dead, uint32_t live) {
    return dead ^ (bits & (dead ^ live));
}

static void close_ring(uint32_t *words, size_t num_words) {
    uint32_t first = words[1], last = words[num_words];
    words[0] = last << 1 | last >> (LANES - 1);
    words[num_words + 1] = first >> 1 | first << (LANES - 1);
}

static void step(const uint32_t *restrict words, uint32_t *restrict next,
                 size_t num_words, const uint32_t table[8]) {
    for (size_t i = 1; i <= num_words; i++) {
        uint32_t left = words[i - 1], center = words[i], right = words[i + 1];
        uint32_t by_right[4], by_center[2];
        for (int k = 0; k < 4; k++)
            by_right[k] = choose(right, table[2 * k], table[2 * k + 1]);
        for (int k = 0; k < 2; k++)
            by_center[k] = choose(center, by_right[2 * k], by_right[2 * k + 1]);
        next[i] = choose(left, by_center[0], by_center[1]);
    }
    close_ring(next, num_words);
}

/* Write the last row's words, and all rows as bytes unless states is NULL. */
int simulate(int rule, size_t num_words, size_t num_steps, uint32_t *last,
             uint8_t *states) {
    uint32_t *words = calloc(num_words + 2, sizeof *words);
    uint32_t *next = calloc(num_words + 2, sizeof *next);
    uint32_t table[8];
    for (int k = 0; k < 8; k++) table[k] = -(uint32_t)(rule >> k & 1);
    if (!words || !next) return free(words), free(next), -1;
    words[1] = (uint32_t)1 << LANES / 2; /* of LANES * num_words cells */
    close_ring(words, num_words);
    for (size_t t = 0; t < num_steps; t++) {
        for (size_t cell = 0; states && cell < LANES; cell++)
            for (size_t i = 1; i <= num_words; i++)
                *states++ = words[i] >> cell & 1;
        if (t + 1 == num_steps) break;
        step(words, next, num_words, table);
        uint32_t *swap = words;
        words = next, next = swap;
    }
    memcpy(last, words + 1, num_words * sizeof *last);
    return free(words), free(next), 0;
}
