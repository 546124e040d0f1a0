/* SPDX-License-Identifier: PostgreSQL */
/*
 * Opening a superblock whose slots hold a mixture of its history and junk, against a model of (S4).
 */
#include <string.h>

#include "base/checksum.h"
#include "base/units.h"
#include "store/superblock.h"

#include "unit/superblock_fixture.h"
#include "fuzz.h"

#define HISTORY_MAX 6

static struct storage_sim sim;
static struct superblock superblock;
static struct superblock_state history[HISTORY_MAX + 1]; /* By sequence. */

static void
update_on_done(struct superblock *updated, enum superblock_result result)
{
    assert(updated == &superblock);
    assert(result == SUPERBLOCK_OK);
}

static void
build_history(struct prng *prng, uint64_t sequence_max)
{
    const struct superblock_format_options options = {
        .cluster = prng_next(prng),
        .prepares_size_bytes = PREPARES_SIZE_MIN,
        .replica_count = 1,
    };
    const enum superblock_result result = superblock_format(&superblock, &options);
    assert(result == SUPERBLOCK_OK);
    history[1] = *superblock.working;
    for (uint64_t sequence = 2; sequence <= sequence_max; sequence++) {
        const uint32_t view = superblock.working->view + (uint32_t) prng_below(prng, 3);
        superblock_update_view(&superblock, view, view, sequence, update_on_done);
        while (superblock.callback != NULL) {
            (void) storage_wait(&sim.storage);
        }
        history[sequence] = *superblock.working;
    }
}

/* Returns the sequence that the slot holds validly, or 0. */
static uint64_t
mutate_slot(struct prng *prng, uint32_t copy, uint64_t sequence_max)
{
    struct superblock_state *state = superblock_copy_on_disk(&sim, copy);
    switch (prng_below(prng, 8)) {
    case 0: memset(state, 0, sizeof(*state)); return 0;
    case 1:
        ((uint8_t *) state)[prng_below(prng, SECTOR_SIZE)] ^= (uint8_t) prng_range(prng, 1, 255);
        return 0;
    case 2:
        storage_sim_latent_error(
            &sim, STORAGE_SUPERBLOCK, copy * SUPERBLOCK_COPY_STRIDE, SECTOR_SIZE);
        return 0;
    case 3: {
        *state = history[prng_range(prng, 1, sequence_max)];
        const uint64_t shift = prng_range(prng, 1, SUPERBLOCK_COPIES - 1);
        state->copy = (uint16_t) ((copy + shift) % SUPERBLOCK_COPIES);
        return 0;
    }
    case 4: {
        const uint64_t sequence = prng_range(prng, 1, sequence_max);
        *state = history[sequence];
        state->copy = (uint16_t) copy;
        return sequence;
    }
    default: return sequence_max;
    }
}

static void
check_open(const uint64_t sequences[SUPERBLOCK_COPIES], bool all_blank)
{
    uint64_t chosen = 0, highest = 0;
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++) {
        highest = max_u64(highest, sequences[i]);
        for (uint32_t j = 0; j < i; j++) {
            if (sequences[i] == sequences[j]) chosen = max_u64(chosen, sequences[i]);
        }
    }
    const bool ok = chosen != 0 && highest - chosen <= 1;
    superblock_restart(&superblock, &sim);
    const enum superblock_result result = superblock_open_and_repair(&superblock);
    if (all_blank) {
        assert(result == SUPERBLOCK_ABSENT);
    } else if (ok) {
        assert(result == SUPERBLOCK_OK);
        assert(memcmp(superblock.working, &history[chosen], SECTOR_SIZE) == 0);
        superblock_restart(&superblock, &sim);
        const enum superblock_result again = superblock_open_and_repair(&superblock);
        assert(again == SUPERBLOCK_OK);
        assert(superblock.copies_repaired == 0);
        assert(memcmp(superblock.working, &history[chosen], SECTOR_SIZE) == 0);
    } else {
        assert(result == SUPERBLOCK_QUORUM_LOST);
    }
}

/* Right checksums over nonsense: only the end of open is asserted. */
static void
forge_and_open(struct prng *prng)
{
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        struct superblock_state *state = superblock_copy_on_disk(&sim, copy);
        const uint64_t start = offsetof(struct superblock_state, version);
        uint8_t *bytes = (uint8_t *) state;
        for (uint64_t i = prng_below(prng, 3); i > 0; i--) {
            bytes[start + prng_below(prng, 512 - start)] = (uint8_t) prng_next(prng);
        }
        state->checksum = checksum(bytes + start, SECTOR_SIZE - start);
    }
    superblock_restart(&superblock, &sim);
    (void) superblock_open_and_repair(&superblock);
}

void
fuzz_superblock(struct prng *prng, uint64_t rounds)
{
    for (uint64_t round = 0; round < rounds; round++) {
        const struct storage_sim_options options = {
            .file_size_bytes = {[STORAGE_SUPERBLOCK] = SUPERBLOCK_FILE_SIZE},
        };
        storage_sim_init(&sim, &options, prng);
        superblock_restart(&superblock, &sim);
        const uint64_t sequence_max = prng_range(prng, 1, HISTORY_MAX);
        build_history(prng, sequence_max);
        if (prng_chance(prng, 1, 5)) {
            forge_and_open(prng);
        } else {
            uint64_t sequences[SUPERBLOCK_COPIES];
            uint32_t blank = 0;
            for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
                sequences[copy] = mutate_slot(prng, copy, sequence_max);
                if (sequences[copy] != 0) continue;
                /* Distinct, so that two invalid slots are no pair. */
                blank += superblock_copy_on_disk(&sim, copy)->checksum == 0 &&
                         superblock_copy_on_disk(&sim, copy)->sequence == 0;
            }
            check_open(sequences, blank == SUPERBLOCK_COPIES);
        }
        storage_sim_free(&sim);
    }
}
