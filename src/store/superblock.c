/* SPDX-License-Identifier: PostgreSQL */
/* See superblock.h. */
#include "store/superblock.h"

#include <stddef.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/units.h"
#include "store/superblock_internal.h"

/*
 * (S4): how many identical valid copies make a state. Since 3 + 2 > 4, any two copies that are read
 * include one of the at least three that made an update durable.
 */
#define SUPERBLOCK_OPEN_MIN 2
static_assert(SUPERBLOCK_VERIFY_MIN + SUPERBLOCK_OPEN_MIN > SUPERBLOCK_COPIES, "quorums overlap");

const char *
superblock_result_name(enum superblock_result result)
{
    static const char *const names[] = {
        [SUPERBLOCK_OK] = "ok",
        [SUPERBLOCK_ABSENT] = "absent",
        [SUPERBLOCK_PRESENT] = "present",
        [SUPERBLOCK_FORK] = "fork",
        [SUPERBLOCK_QUORUM_LOST] = "quorum lost",
        [SUPERBLOCK_OTHER_VERSION] = "other version",
        [SUPERBLOCK_OTHER_CONFIG] = "other config",
        [SUPERBLOCK_IO_ERROR] = "input/output error",
        [SUPERBLOCK_REPLACED] = "replaced",
    };
    assert((uint64_t) result < ARRAY_COUNT(names));
    return names[result];
}

enum copy_state {
    COPY_BLANK,   /* Readable, and all zero. */
    COPY_INVALID, /* Unreadable, torn, rotten, or the content of another copy. */
    COPY_VALID,
};

static enum copy_state
superblock_copy_classify(const struct superblock_state *state, uint32_t copy)
{
    assert(copy < SUPERBLOCK_COPIES);
    if (bytes_zero(state, sizeof(*state))) return COPY_BLANK;
    if (state->copy != copy) return COPY_INVALID;
    if (state->checksum != superblock_checksum(state)) return COPY_INVALID;
    /* A state of another version or build is whole, but we can't interpret its fields. */
    if (state->version != DISK_FORMAT_VERSION) return COPY_VALID;
    if (state->config_fingerprint != CONFIG_FINGERPRINT) return COPY_VALID;
    return superblock_state_sound(state) ? COPY_VALID : COPY_INVALID;
}

bool
superblock_copy_valid(const struct superblock_state *state, uint32_t copy)
{
    return superblock_copy_classify(state, copy) == COPY_VALID;
}

void
superblock_init(struct superblock *superblock, struct arena *arena, struct storage *storage)
{
    *superblock = (struct superblock){
        .storage = storage,
        .working = arena_take(arena, 1, SECTOR_SIZE, SECTOR_SIZE),
        .staging = arena_take(arena, 1, SECTOR_SIZE, SECTOR_SIZE),
        .reading = arena_take(arena, SUPERBLOCK_COPIES, SECTOR_SIZE, SECTOR_SIZE),
    };
    assert(arena_measuring(arena) == (superblock->working == NULL));
    assert(!superblock->updating);
}

u128
superblock_checkpoint_id(const struct superblock *superblock)
{
    assert(superblock->working->sequence > 0);
    return checksum(&superblock->working->checkpoint, sizeof(struct checkpoint_state));
}

/* ---- Open ------------------------------------------------------------------------------------ */

struct superblock_copies {
    enum copy_state states[SUPERBLOCK_COPIES];
    uint32_t blank_count;
    uint32_t valid_count;
};

static void
superblock_read_copies(struct superblock *superblock, struct superblock_copies *copies)
{
    struct storage *storage = superblock->storage;
    const uint64_t file_size_bytes = storage->file_size_bytes[STORAGE_SUPERBLOCK];
    *copies = (struct superblock_copies){0};
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        const uint64_t offset_bytes = superblock_copy_offset_bytes(copy);
        struct superblock_state *state = superblock->reading + copy;
        /* A file that was cut short has lost copies; an empty file never had any. */
        const bool readable =
            offset_bytes + SECTOR_SIZE <= file_size_bytes &&
            storage_transfer_now(
                storage, STORAGE_READ, STORAGE_SUPERBLOCK, offset_bytes, state, SECTOR_SIZE) ==
                STORAGE_OK;
        if (readable) {
            copies->states[copy] = superblock_copy_classify(state, copy);
        } else {
            copies->states[copy] = file_size_bytes == 0 ? COPY_BLANK : COPY_INVALID;
        }
        copies->blank_count += copies->states[copy] == COPY_BLANK;
        copies->valid_count += copies->states[copy] == COPY_VALID;
    }
    assert(copies->blank_count + copies->valid_count <= SUPERBLOCK_COPIES);
}

/*
 * Is there a fork between these two? The caller compares every two valid copies, both ways round.
 */
static bool
superblock_states_fork(const struct superblock_state *a, const struct superblock_state *b)
{
    if (a->sequence == b->sequence) return a->checksum != b->checksum;
    if (a->sequence + 1 == b->sequence) return b->parent != a->checksum; /* (S1) */
    return false;
}

/*
 * Applies (S4) to the copies in `reading`. On SUPERBLOCK_OK, *chosen is one copy of the state to
 * take.
 */
static enum superblock_result
superblock_choose(
    const struct superblock *superblock,
    const struct superblock_copies *copies,
    const struct superblock_state **chosen)
{
    if (copies->blank_count == SUPERBLOCK_COPIES) return SUPERBLOCK_ABSENT;

    uint64_t sequence_max = 0;
    *chosen = NULL;
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++) {
        if (copies->states[i] != COPY_VALID) continue;
        const struct superblock_state *state = superblock->reading + i;
        sequence_max = max_u64(sequence_max, state->sequence);
        uint32_t identical = 0;
        for (uint32_t j = 0; j < SUPERBLOCK_COPIES; j++) {
            if (copies->states[j] != COPY_VALID) continue;
            const struct superblock_state *other = superblock->reading + j;
            if (superblock_states_fork(state, other)) return SUPERBLOCK_FORK;
            identical += state->checksum == other->checksum;
        }
        if (identical < SUPERBLOCK_OPEN_MIN) continue;
        if (*chosen == NULL || (*chosen)->sequence < state->sequence) *chosen = state;
    }
    if (*chosen == NULL) return SUPERBLOCK_QUORUM_LOST;
    /*
     * A single copy of the next sequence is a torn update, which doesn't count. A copy that is two
     * or more ahead proves that the next sequence was durable once and has since lost its copies.
     * Going back to the older state would undo it, so we refuse.
     */
    assert(sequence_max >= (*chosen)->sequence);
    if (sequence_max - (*chosen)->sequence > 1) return SUPERBLOCK_QUORUM_LOST;
    if ((*chosen)->version != DISK_FORMAT_VERSION) return SUPERBLOCK_OTHER_VERSION;
    if ((*chosen)->config_fingerprint != CONFIG_FINGERPRINT) return SUPERBLOCK_OTHER_CONFIG;
    return SUPERBLOCK_OK;
}

/* Writes `working` to this copy. */
static enum storage_result
superblock_repair_copy(struct superblock *superblock, uint32_t copy)
{
    assert(superblock_state_sound(superblock->working));
    *superblock->staging = *superblock->working;
    superblock->staging->copy = (uint16_t) copy;
    return storage_transfer_now(
        superblock->storage,
        STORAGE_WRITE,
        STORAGE_SUPERBLOCK,
        superblock_copy_offset_bytes(copy),
        superblock->staging,
        SECTOR_SIZE);
}

/*
 * What was repaired must read back as (S3) demands. Also, no valid copy of another state may
 * survive: together with the next update it would make a fork.
 */
static bool
superblock_repair_verified(struct superblock *superblock)
{
    struct superblock_copies copies;
    assert(superblock->copies_repaired > 0);
    superblock_read_copies(superblock, &copies);
    uint32_t identical = 0;
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        if (copies.states[copy] != COPY_VALID) continue;
        if (superblock->reading[copy].checksum != superblock->working->checksum) return false;
        identical += 1;
    }
    return identical >= SUPERBLOCK_VERIFY_MIN;
}

enum superblock_result
superblock_open(struct superblock *superblock)
{
    assert(!superblock->updating);
    superblock->settled = false;
    superblock->copies_repaired = 0;

    struct superblock_copies copies;
    const struct superblock_state *chosen;
    superblock_read_copies(superblock, &copies);
    const enum superblock_result result = superblock_choose(superblock, &copies, &chosen);
    if (result != SUPERBLOCK_OK) return result;
    *superblock->working = *chosen;
    superblock->working->copy = 0;
    assert(superblock->working->checksum == superblock_checksum(superblock->working));

    uint32_t good_count = 0;
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        const struct superblock_state *state = superblock->reading + copy;
        const bool good = copies.states[copy] == COPY_VALID &&
                          state->checksum == superblock->working->checksum;
        superblock->copy_good[copy] = good;
        good_count += good;
    }
    assert(good_count >= SUPERBLOCK_OPEN_MIN);
    return SUPERBLOCK_OK;
}

enum superblock_result
superblock_repair(struct superblock *superblock)
{
    struct storage *storage = superblock->storage;
    assert(superblock->working->sequence > 0);
    assert(!superblock->settled);
    if (storage->file_size_bytes[STORAGE_SUPERBLOCK] < SUPERBLOCK_FILE_SIZE) {
        const enum storage_result result =
            storage_grow(storage, STORAGE_SUPERBLOCK, SUPERBLOCK_FILE_SIZE);
        if (result != STORAGE_OK) return SUPERBLOCK_IO_ERROR;
    }
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        if (superblock->copy_good[copy]) continue;
        if (superblock_repair_copy(superblock, copy) != STORAGE_OK) return SUPERBLOCK_IO_ERROR;
        superblock->copies_repaired += 1;
    }
    assert(superblock->copies_repaired <= SUPERBLOCK_COPIES - SUPERBLOCK_OPEN_MIN);
    const bool repaired = superblock->copies_repaired > 0;
    if (repaired && !superblock_repair_verified(superblock)) return SUPERBLOCK_IO_ERROR;
    superblock->settled = true;
    return SUPERBLOCK_OK;
}

/* ---- Format ---------------------------------------------------------------------------------- */

/* Whom the ledger begins with. */
static void
superblock_format_members(
    struct superblock_state *state,
    const struct superblock_format_options *options)
{
    if (options->members == NULL) {
        members_lone(&state->members, options->incarnation);
    } else {
        const struct member *self = &options->members->slots[options->slot];
        const char *name = options->name != NULL ? options->name : self->name;
        state->members = *options->members;
        state->flags = SUPERBLOCK_NOT_ALONE;
        state->slot = options->slot;
        memcpy(state->name, name, MEMBER_NAME_MAX);
        if (options->name != NULL) {
            state->first_incarnation = options->members->slots[0].incarnation;
        }
    }
    state->checkpoint.members_checksum = members_checksum(&state->members);
}

enum superblock_result
superblock_format(struct superblock *superblock, const struct superblock_format_options *options)
{
    assert(!superblock->updating);
    assert(superblock->storage->file_size_bytes[STORAGE_SUPERBLOCK] >= SUPERBLOCK_FILE_SIZE);
    assert(options->incarnation != 0);
    assert(options->prepares_size_bytes >= PREPARES_SIZE_MIN);
    assert(options->members != NULL || options->slot == 0);
    if (options->members != NULL) {
        assert(members_valid(options->members));
        assert(options->slot < MEMBERS_MAX);
        const struct member *self = &options->members->slots[options->slot];
        if (options->name == NULL) {
            assert(self->incarnation == options->incarnation);
            assert(member_name_valid(self->name));
        } else {
            assert(self->role == MEMBER_NONE);
        }
    }

    struct superblock_copies copies;
    superblock_read_copies(superblock, &copies);
    if (copies.blank_count != SUPERBLOCK_COPIES) return SUPERBLOCK_PRESENT;

    struct superblock_state *working = superblock->working;
    *working = (struct superblock_state){
        .version = DISK_FORMAT_VERSION,
        .config_fingerprint = CONFIG_FINGERPRINT,
        .cluster = options->cluster,
        .incarnation = options->incarnation,
        .system_identifier = options->system_identifier,
        .prepares_size_bytes = options->prepares_size_bytes,
        .suffix_count = 1,
    };
    superblock_format_members(working, options);
    const uint16_t voters = members_voters(&working->members);
    prepare_root(&working->checkpoint.header, options->cluster, voters);
    working->suffix[0] = working->checkpoint.header;
    working->commit_max_checksum = working->checkpoint.header.checksum;
    superblock->settled = true;
    (void) superblock_stage(superblock);
    superblock_update_begin(superblock);
    while (superblock->updating) {
        (void) storage_wait(superblock->storage);
    }
    return superblock->failed ? SUPERBLOCK_IO_ERROR : SUPERBLOCK_OK;
}
