/* SPDX-License-Identifier: PostgreSQL */
/*
 * Opening a superblock whose slots hold a mixture of its history and junk, against a model of (S4).
 * And opening one whose fields are nonsense under right checksums: it is refused, or is a state
 * that can be updated.
 */
#include <string.h>

#include "base/units.h"
#include "store/superblock.h"

#include "unit/superblock_fixture.h"
#include "fuzz.h"

#define HISTORY_MAX 6

static struct storage_sim sim;
static struct superblock superblock;
static struct superblock_state history[HISTORY_MAX + 1]; /* By sequence. */

static struct superblock_chain chain;

static void
update_on_done(struct superblock_update *update, enum superblock_result result)
{
    assert(update->kind != SUPERBLOCK_UPDATE_OWNER);
    assert(result == SUPERBLOCK_OK || result == SUPERBLOCK_REPLACED);
    if (superblock.working->sequence > HISTORY_MAX) return; /* It is not of the history. */
    history[superblock.working->sequence] = *superblock.working;
}

/* Any view that may follow; the log has perhaps grown. */
static void
ask_view(struct prng *prng, struct superblock_update *update, uint64_t op)
{
    const struct superblock_state *working = superblock.working;
    const uint32_t view = working->view + (uint32_t) prng_below(prng, 3);
    const uint32_t log_view = prng_chance(prng, 1, 2) ? view : working->log_view;
    *update = (struct superblock_update){
        .kind = SUPERBLOCK_UPDATE_VIEW,
        .callback = update_on_done,
        .view = view,
    };
    superblock_chain_log(&chain, op, log_view, &update->log);
    superblock_update(&superblock, update);
}

/* A view; or a view, and a checkpoint that waits, perhaps together with a second view. */
static void
update_somehow(struct prng *prng)
{
    static struct superblock_update updates[3];
    const struct superblock_state *working = superblock.working;
    const uint64_t head = superblock_suffix_head(working);
    const uint64_t op = min_u64(head + prng_below(prng, 5), CHAIN_MAX - 1);
    superblock_chain_extend(&chain, op, working->log_view);
    ask_view(prng, &updates[0], op);
    if (prng_chance(prng, 1, 2)) {
        updates[1] = (struct superblock_update){
            .kind = SUPERBLOCK_UPDATE_CHECKPOINT,
            .callback = update_on_done,
            .members = working->members,
        };
        superblock_chain_log(&chain, op, working->log_view, &updates[1].log);
        updates[1].checkpoint.header =
            chain.headers[prng_range(prng, working->checkpoint.header.op, op)];
        superblock_update(&superblock, &updates[1]);
        updates[2] = updates[0];
        updates[2].view += 1;
        updates[2].replaced_next = NULL;
        if (prng_chance(prng, 1, 2)) superblock_update(&superblock, &updates[2]);
    }
    while (superblock_busy(&superblock)) {
        (void) storage_wait(&sim.storage);
    }
}

/* Returns how many states there were. */
static uint64_t
build_history(struct prng *prng)
{
    const struct superblock_format_options options = {
        .cluster = prng_next(prng),
        .incarnation = prng_range(prng, 1, UINT64_MAX),
        .prepares_size_bytes = PREPARES_SIZE_MIN,
    };
    const enum superblock_result result = superblock_format(&superblock, &options);
    const uint64_t sequence_wanted = prng_range(prng, 1, HISTORY_MAX - 1);
    assert(result == SUPERBLOCK_OK);
    superblock_chain_init(&chain, options.cluster);
    history[1] = *superblock.working;
    while (superblock.working->sequence < sequence_wanted) update_somehow(prng);
    return superblock.working->sequence;
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

/* Nonsense for a field, so that what depends on it is reached. */
static void
forge_field(struct prng *prng, struct superblock_state *state)
{
    struct prepare_header *header = &state->suffix[prng_below(prng, SUPERBLOCK_SUFFIX_MAX)];
    struct member *member = &state->members.slots[prng_below(prng, MEMBERS_MAX)];
    const uint64_t small = prng_below(prng, 20);
    switch (prng_below(prng, 12)) {
    case 0: state->suffix_count = (uint8_t) small; break;
    case 1: header->op = small; break;
    case 2: header->view = (uint32_t) small; break;
    case 3: *header = history[1].suffix[0]; break;
    case 4: *member = (struct member){.incarnation = small, .role = (uint8_t) (small % 4)}; break;
    case 5: member->name[prng_below(prng, MEMBER_NAME_MAX)] = (char) prng_next(prng); break;
    case 6: state->flags = (uint32_t) small; break;
    case 7: state->slot = (uint8_t) small; break;
    case 8: state->op_acked_min = small; break;
    case 9: state->name[prng_below(prng, SUPERBLOCK_NAME_SIZE)] = 'a'; break;
    case 10: state->view = UINT32_MAX - (uint32_t) small; break;
    case 11: state->commit_max = small; break;
    default: unreachable();
    }
    if (header->size == PREPARE_HEADER_SIZE) prepare_seal(header);
}

/* What was found sound must be good enough to go on with, as long as the node is alone. */
static void
go_on(void)
{
    static struct superblock_update update;
    const struct superblock_state *state = superblock.working;
    update = (struct superblock_update){
        .kind = SUPERBLOCK_UPDATE_VIEW,
        .callback = update_on_done,
        .view = members_next_view(members_voters(&state->members), state->view),
        .log =
            {
                .log_view = state->log_view,
                .suffix_count = state->suffix_count,
                .op_acked_min = state->op_acked_min,
                .commit_max = state->commit_max,
            },
    };
    memcpy(update.log.suffix, state->suffix, sizeof(update.log.suffix));
    if (update.view > UINT32_MAX - MEMBERS_MAX) return;
    superblock_update(&superblock, &update);
    while (superblock_busy(&superblock)) {
        (void) storage_wait(&sim.storage);
    }
    const enum superblock_result result = superblock_open_and_repair(&superblock);
    assert(result == SUPERBLOCK_OK);
    assert(superblock.working->view == update.view);
}

/* Right checksums over nonsense, in all copies the same or not. */
static void
forge_and_open(struct prng *prng)
{
    struct superblock_state forged = *superblock_copy_on_disk(&sim, 0);
    const bool same = prng_chance(prng, 2, 3);
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        struct superblock_state *state = superblock_copy_on_disk(&sim, copy);
        const uint64_t start = offsetof(struct superblock_state, version);
        if (copy == 0 || !same) {
            uint8_t *bytes = (uint8_t *) &forged;
            for (uint64_t i = prng_below(prng, 2); i > 0; i--) {
                bytes[start + prng_below(prng, SECTOR_SIZE - start)] = (uint8_t) prng_next(prng);
            }
            for (uint64_t i = prng_below(prng, 4); i > 0; i--) forge_field(prng, &forged);
            forged.checkpoint.members_checksum = members_checksum(&forged.members);
        }
        *state = forged;
        state->copy = (uint16_t) copy;
        superblock_reseal(state);
    }
    superblock_restart(&superblock, &sim);
    if (superblock_open_and_repair(&superblock) == SUPERBLOCK_OK) go_on();
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
        const uint64_t sequence_max = build_history(prng);
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
