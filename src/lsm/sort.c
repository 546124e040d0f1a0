/* SPDX-License-Identifier: PostgreSQL */
/*
 * See sort.h. One algorithm serves three kinds of entry: everything here is inlined into the three
 * functions at the end, so that the compiler knows the layout.
 */
#include "lsm/sort.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/assert.h"
#include "base/u128.h"

/* An entry as a row of words: how many there are, and which of them are the key. */
struct sort_layout {
    uint32_t words;
    uint32_t key_high;
    uint32_t key_low; /* Equal to key_high if the key is one word. */
};

/* Some bits of a word of the key. */
struct sort_digit {
    uint32_t word;
    uint32_t shift;
};

/*
 * Up to this count, narrow digits are better: counting with tables of 2^11 counters would cost more
 * than the additional passes.
 */
#define SORT_FEW            1024
#define SORT_DIGIT_BITS_FEW 8
#define SORT_DIGIT_BITS     11
/* Enough for keys of 128 bits, where the last digit of each word may be narrow. */
#define SORT_DIGITS_MAX 16
/* Up to this count, insertion alone is used. */
#define SORT_INSERTION_MAX 16

static_assert(
    SORT_DIGITS_MAX * SORT_DIGIT_BITS_FEW >= 128 && 64 % SORT_DIGIT_BITS_FEW == 0,
    "all the digits that there may be");
static_assert(sizeof(struct entry16) == 16 && sizeof(struct entry24) == 24, "nothing but words");
static_assert(sizeof(struct sort_item) == 16, "nothing but words");
static_assert(SORT_INSERTION_MAX / 2 <= 2 * SORT_MOVES_MAX, "few entries are within the bound");

#define INLINE static inline __attribute__((always_inline))

INLINE bool
sort_before(const uint64_t *a, const uint64_t *b, struct sort_layout layout)
{
    if (layout.key_high == layout.key_low) return a[layout.key_high] < b[layout.key_high];
    return u128_make(a[layout.key_high], a[layout.key_low]) <
           u128_make(b[layout.key_high], b[layout.key_low]);
}

INLINE void
sort_copy(uint64_t *to, const uint64_t *from, struct sort_layout layout)
{
    for (uint32_t word = 0; word < layout.words; word++) to[word] = from[word];
}

/*
 * Chooses the digits in which keys differ, the most significant first, and returns how many there
 * are. *complete is set if keys that are equal in these digits are equal altogether.
 */
INLINE uint32_t
sort_choose_digits(
    struct sort_digit *digits,
    uint32_t digits_max,
    uint32_t bits,
    const uint64_t *differs,
    struct sort_layout layout,
    bool *complete)
{
    assert(digits_max <= SORT_DIGITS_MAX);
    uint32_t count = 0;
    uint32_t word = layout.key_high;
    uint64_t left = differs[word];
    while (count < digits_max) {
        if (left == 0) {
            if (word == layout.key_low) break;
            word = layout.key_low;
            left = differs[word];
            continue;
        }
        const uint32_t width = 64 - (uint32_t) __builtin_clzll(left);
        const uint32_t shift = width > bits ? width - bits : 0;
        digits[count] = (struct sort_digit){.word = word, .shift = shift};
        count += 1;
        left &= (UINT64_C(1) << shift) - 1;
    }
    *complete = left == 0 && (word == layout.key_low || differs[layout.key_low] == 0);
    assert(count > 0);
    assert(*complete || count == digits_max);
    return count;
}

/* Moves all entries, ordered by one digit. It is stable (N1). */
INLINE void
sort_pass(
    const uint64_t *source,
    uint64_t *target,
    uint32_t count,
    struct sort_digit digit,
    uint32_t bits,
    struct sort_layout layout)
{
    uint32_t places[1 << SORT_DIGIT_BITS];
    const uint64_t mask = (UINT64_C(1) << bits) - 1;
    memset(places, 0, sizeof(places[0]) << bits);

    const uint64_t *end = source + (size_t) count * layout.words;
    for (const uint64_t *entry = source; entry < end; entry += layout.words) {
        places[(entry[digit.word] >> digit.shift) & mask] += 1;
    }
    uint32_t place = 0;
    for (uint64_t value = 0; value <= mask; value++) {
        const uint32_t of_value = places[value];
        places[value] = place;
        place += of_value;
    }
    assert(place == count);
    for (const uint64_t *entry = source; entry < end; entry += layout.words) {
        uint32_t *next = &places[(entry[digit.word] >> digit.shift) & mask];
        sort_copy(target + (size_t) *next * layout.words, entry, layout);
        *next += 1;
    }
}

/* Sorts by these digits, the last one first. The result is where the input was. */
INLINE void
sort_by_digits(
    uint64_t *entries,
    uint64_t *scratch,
    uint32_t count,
    const struct sort_digit *digits,
    uint32_t digit_count,
    struct sort_layout layout)
{
    const uint32_t bits = count <= SORT_FEW ? SORT_DIGIT_BITS_FEW : SORT_DIGIT_BITS;
    uint64_t *source = entries;
    uint64_t *target = scratch;
    assert(digit_count > 0);
    for (uint32_t i = digit_count; i > 0; i--) {
        assert(digits[i - 1].shift < 64);
        sort_pass(source, target, count, digits[i - 1], bits, layout);
        uint64_t *swapped = source;
        source = target;
        target = swapped;
    }
    if (source != entries) memcpy(entries, source, (size_t) count * layout.words * 8);
}

/*
 * Straight insertion, which is stable (N1). Returns false if it gave up before breaking (N2); some
 * entries are sorted then.
 */
INLINE bool
sort_by_insertion(uint64_t *entries, uint32_t count, struct sort_layout layout)
{
    const uint64_t moves_max = (uint64_t) count * SORT_MOVES_MAX;
    uint64_t moves = 0;
    uint64_t *end = entries + (size_t) count * layout.words;
    for (uint64_t *entry = entries + layout.words; entry < end; entry += layout.words) {
        if (__builtin_expect(!sort_before(entry, entry - layout.words, layout), 1)) continue;
        uint64_t taken[3];
        uint64_t *gap = entry;
        sort_copy(taken, entry, layout);
        do {
            sort_copy(gap, gap - layout.words, layout);
            gap -= layout.words;
            moves += 1;
        } while (gap > entries && moves < moves_max &&
                 sort_before(taken, gap - layout.words, layout));
        sort_copy(gap, taken, layout);
        assert(moves <= moves_max); /* (N2) */
        if (moves == moves_max) return false;
    }
    return true;
}

INLINE void
sort_words(uint64_t *entries, uint32_t count, uint64_t *scratch, struct sort_layout layout)
{
    assert(count == 0 || (entries != NULL && scratch != NULL));
    assert(layout.words <= 3 && layout.key_high < layout.words);
    if (count <= SORT_INSERTION_MAX && sort_by_insertion(entries, count, layout)) return;

    uint64_t differs[3] = {0};
    uint64_t descents = 0;
    uint64_t *end = entries + (size_t) count * layout.words;
    for (const uint64_t *entry = entries + layout.words; entry < end; entry += layout.words) {
        descents |= sort_before(entry, entry - layout.words, layout);
        differs[layout.key_high] |= entry[layout.key_high] ^ entries[layout.key_high];
        if (layout.key_low != layout.key_high) {
            differs[layout.key_low] |= entry[layout.key_low] ^ entries[layout.key_low];
        }
    }
    if (descents == 0) return;

    struct sort_digit digits[SORT_DIGITS_MAX];
    const uint32_t bits = count <= SORT_FEW ? SORT_DIGIT_BITS_FEW : SORT_DIGIT_BITS;
    bool complete;
    uint32_t digit_count =
        sort_choose_digits(digits, SORT_DIGITS_FIRST, bits, differs, layout, &complete);
    sort_by_digits(entries, scratch, count, digits, digit_count, layout);
    if (complete || sort_by_insertion(entries, count, layout)) return;

    /* Everything so far was stable, so nothing needs to be undone (N1). */
    digit_count = sort_choose_digits(digits, SORT_DIGITS_MAX, bits, differs, layout, &complete);
    assert(complete);
    sort_by_digits(entries, scratch, count, digits, digit_count, layout);
}

void
sort_entries16(struct entry16 *entries, uint32_t count, struct entry16 *scratch)
{
    sort_words(
        &entries->timestamp, count, &scratch->timestamp,
        (struct sort_layout){.words = 2, .key_high = 1, .key_low = 1});
}

void
sort_entries24(struct entry24 *entries, uint32_t count, struct entry24 *scratch)
{
    sort_words(
        &entries->id_low, count, &scratch->id_low,
        (struct sort_layout){.words = 3, .key_high = 1, .key_low = 0});
}

void
sort_items_by_key(struct sort_item *items, uint32_t count, struct sort_item *scratch)
{
    sort_words(
        &items->key, count, &scratch->key,
        (struct sort_layout){.words = 2, .key_high = 0, .key_low = 0});
}
