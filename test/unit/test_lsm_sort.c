/* SPDX-License-Identifier: PostgreSQL */
/* Sorting against a merge sort that is too simple to be wrong, and merging against sorting. */
#include "unit.h"

#include "base/prng.h"
#include "base/units.h"
#include "lsm/loser_tree.h"
#include "lsm/sort.h"

#define COUNT_MAX 65536
#define KINDS 12

struct any {
    uint64_t high;
    uint64_t low;
    uint64_t tag; /* Ascends in the input. */
};

static struct any input[COUNT_MAX];
static struct any merged[COUNT_MAX];

static bool
is_before(const struct any *a, const struct any *b)
{
    return a->high != b->high ? a->high < b->high : a->low < b->low;
}

/* Stable. */
static void
merge_sort(struct any *entries, struct any *scratch, uint32_t count)
{
    for (uint32_t width = 1; width < count; width *= 2) {
        for (uint32_t start = 0; start < count; start += 2 * width) {
            const uint32_t middle = start + width < count ? start + width : count;
            const uint32_t end = start + 2 * width < count ? start + 2 * width : count;
            uint32_t left = start;
            uint32_t right = middle;
            for (uint32_t i = start; i < end; i++) {
                const bool take_right = left == middle || (right < end && is_before(
                                                                              &entries[right],
                                                                              &entries[left]));
                scratch[i] = take_right ? entries[right++] : entries[left++];
            }
        }
        memcpy(entries, scratch, count * sizeof(*entries));
    }
}

/* What entries' keys are like. */
static uint64_t
value_of_kind(struct prng *prng, uint32_t kind, uint32_t i, uint32_t count)
{
    const uint64_t random = prng_next(prng);
    switch (kind) {
    case 0: return random;
    case 1: return random >> 40;
    case 2: return random % 7;
    case 3: return 77 * (uint64_t) i;
    case 4: return 42;
    case 5: return (uint64_t) (count - i) << 13; /* Descending. */
    case 6: return i == count / 2 ? UINT64_MAX : random % 100000; /* One decides the top digits. */
    case 7: return (random % 50) * 1000000000 + (random >> 40) % 8190; /* Batches. */
    case 8: return (random % 5) << 61 | (random >> 32) % 5;
    case 9: return UINT64_C(1) << (random % 64);
    case 10: return i < count / 2 ? i : i - count / 2;
    default: return (random % 3) << 62 | (uint64_t) (count - i);
    }
}

static void
fill(struct prng *prng, uint32_t count, uint32_t kind_high, uint32_t kind_low)
{
    for (uint32_t i = 0; i < count; i++) {
        input[i].high = value_of_kind(prng, kind_high, i, count);
        input[i].low = value_of_kind(prng, kind_low, i, count);
        input[i].tag = i + 1;
    }
}

static void
check_one_word(uint32_t count)
{
    static struct entry16 entries[COUNT_MAX];
    static struct entry16 entries_scratch[COUNT_MAX];
    static struct sort_item slots[COUNT_MAX];
    static struct sort_item slots_scratch[COUNT_MAX];
    for (uint32_t i = 0; i < count; i++) {
        input[i].low = 0;
        entries[i] = (struct entry16){.value = input[i].high, .timestamp = input[i].tag};
        slots[i] = (struct sort_item){.key = input[i].high, .item = input[i].tag};
    }
    sort_entries16(entries, count, entries_scratch);
    sort_items_by_key(slots, count, slots_scratch);
    merge_sort(input, merged, count);
    for (uint32_t i = 0; i < count; i++) {
        const bool equal =
            entries[i].value == input[i].high && entries[i].timestamp == input[i].tag;
        expect(equal); /* N1: the tag too. */
        expect(slots[i].key == input[i].high && slots[i].item == input[i].tag);
        if (!equal) return;
    }
}

static void
check_two_words(uint32_t count)
{
    static struct entry24 entries[COUNT_MAX];
    static struct entry24 scratch[COUNT_MAX];
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = (struct entry24){
            .id_high = input[i].high, .id_low = input[i].low, .timestamp = input[i].tag};
    }
    sort_entries24(entries, count, scratch);
    merge_sort(input, merged, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct entry24 *entry = &entries[i];
        const bool equal = entry->id_high == input[i].high && entry->id_low == input[i].low &&
                           entry->timestamp == input[i].tag;
        expect(equal);
        if (!equal) return;
    }
}

/* N2 is asserted by the code; the kinds make it give up insertion, and not. */
UNIT_TEST(n1_n2_entries_of_every_kind_and_count)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (uint32_t count = 0; count < 70; count++) {
        for (uint32_t kind = 0; kind < KINDS * KINDS; kind++) {
            fill(&prng, count, kind % KINDS, kind / KINDS);
            check_two_words(count);
            fill(&prng, count, kind % KINDS, kind / KINDS);
            check_one_word(count);
        }
    }
    static const uint32_t counts[] = {255, 1000, 1024, 1025, 5000};
    for (uint32_t i = 0; i < ARRAY_COUNT(counts); i++) {
        for (uint32_t kind = 0; kind < KINDS * KINDS; kind++) {
            fill(&prng, counts[i], kind % KINDS, kind / KINDS);
            check_two_words(counts[i]);
            if (kind >= KINDS) continue;
            fill(&prng, counts[i], kind, kind);
            check_one_word(counts[i]);
        }
    }
}

UNIT_TEST(the_largest_counts)
{
    struct prng prng;
    prng_init(&prng, 2);
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        const uint32_t count = COUNT_MAX - kind % 2;
        fill(&prng, count, kind, 0);
        check_two_words(count);
        fill(&prng, count, 4, kind);
        check_two_words(count);
        fill(&prng, count, kind, 4);
        check_one_word(count);
    }
}

struct source {
    const struct any *entries;
    uint32_t count;
    uint32_t at;
};

static u128
key_at(const struct source *source)
{
    return u128_make(source->entries[source->at].high, source->entries[source->at].low);
}

/* What looking at all of them says. */
static uint32_t
smallest_but(const struct source *sources, uint32_t count, uint32_t but)
{
    uint32_t found = LOSER_TREE_NONE;
    for (uint32_t i = 0; i < count; i++) {
        if (i == but || sources[i].at == sources[i].count) continue;
        if (found == LOSER_TREE_NONE || key_at(&sources[i]) < key_at(&sources[found])) found = i;
    }
    return found;
}

static void
merge_by_tree(struct source *sources, uint32_t count)
{
    struct loser_tree tree;
    loser_tree_init(&tree, count);
    for (uint32_t i = 0; i < count; i++) {
        if (sources[i].count > 0) loser_tree_set(&tree, i, key_at(&sources[i]));
        else if (i % 2 == 0) loser_tree_exhaust(&tree, i); /* As it is anyway. */
    }
    loser_tree_build(&tree);
    for (;;) {
        const uint32_t winner = loser_tree_winner(&tree);
        expect_equal(winner, smallest_but(sources, count, LOSER_TREE_NONE)); /* W1 */
        if (winner == LOSER_TREE_NONE) break;
        struct source *source = &sources[winner];
        expect(loser_tree_winner_key(&tree) == key_at(source));
        const uint32_t second = smallest_but(sources, count, winner);
        const u128 runner_up = second == LOSER_TREE_NONE ? U128_MAX : key_at(&sources[second]);
        expect(loser_tree_runner_up(&tree) == runner_up);
        source->at += 1;
        if (source->at < source->count) loser_tree_replace(&tree, key_at(source));
        else loser_tree_exhaust_winner(&tree);
        if (unit_expectations_failed > 0) return;
    }
}

/* Keys from the smallest to the largest that W3 allows, with many equal ones. */
UNIT_TEST(w1_w2_w3_merging_any_number_of_inputs)
{
    struct prng prng;
    prng_init(&prng, 3);
    for (uint32_t round = 0; round < 3000; round++) {
        struct source sources[LOSER_TREE_INPUTS_MAX];
        const uint32_t count = 1 + round % LOSER_TREE_INPUTS_MAX;
        uint32_t used = 0;
        for (uint32_t i = 0; i < count; i++) {
            struct any *entries = &input[used];
            const uint32_t entry_count = (uint32_t) prng_below(&prng, 20);
            for (uint32_t j = 0; j < entry_count; j++) {
                const uint64_t kind = prng_below(&prng, 4);
                entries[j].high = kind == 0 ? UINT64_MAX : kind == 1 ? 0 : prng_below(&prng, 4);
                entries[j].low = 1 + prng_below(&prng, 5);
                if (kind == 0) entries[j].low = UINT64_MAX - entries[j].low;
                if (kind == 3) entries[j].low = prng_next(&prng) | 1;
            }
            merge_sort(entries, merged, entry_count);
            sources[i] = (struct source){.entries = entries, .count = entry_count};
            used += entry_count;
        }
        merge_by_tree(sources, count);
    }
}

UNIT_MAIN(test_lsm_sort)
