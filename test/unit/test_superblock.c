/* SPDX-License-Identifier: PostgreSQL */
#include "unit.h"

#include <stddef.h>

#include "base/checksum.h"
#include "base/prng.h"
#include "base/units.h"
#include "store/superblock.h"

#include "unit/superblock_fixture.h"

#define CLUSTER ((u128) 3 << 64 | 4)

static struct storage_sim sim;
static struct prng prng;
static struct superblock superblock;

static const struct superblock_format_options format_options = {
    .cluster = CLUSTER,
    .incarnation = 5,
    .system_identifier = 6,
    .prepares_size_bytes = PREPARES_SIZE_MIN,
    .replica = 1,
    .replica_count = 3,
};

static void
begin(uint64_t seed)
{
    prng_init(&prng, seed);
    const struct storage_sim_options options = {
        .file_size_bytes = {[STORAGE_SUPERBLOCK] = SUPERBLOCK_FILE_SIZE},
    };
    storage_sim_init(&sim, &options, &prng);
    superblock_restart(&superblock, &sim);
}

static void
begin_formatted(uint64_t seed)
{
    begin(seed);
    expect_equal(superblock_format(&superblock, &format_options), SUPERBLOCK_OK);
}

static void
end(void)
{
    storage_sim_free(&sim);
}

static void
reseal(struct superblock_state *state)
{
    const uint64_t start = offsetof(struct superblock_state, version);
    state->checksum = checksum((const uint8_t *) state + start, sizeof(*state) - start);
}

static bool update_done;
static enum superblock_result update_result;

static void
update_on_done(struct superblock *updated, enum superblock_result result)
{
    assert(updated == &superblock);
    assert(!update_done);
    update_done = true;
    update_result = result;
}

static enum superblock_result
update_wait(void)
{
    expect(!update_done); /* No completion inside submit. */
    while (!update_done) {
        (void) storage_wait(&sim.storage);
    }
    return update_result;
}

static enum superblock_result
update_view(uint32_t view, uint64_t commit_max)
{
    update_done = false;
    superblock_update_view(&superblock, view, view, commit_max, update_on_done);
    return update_wait();
}

static enum superblock_result
update_checkpoint(uint64_t op)
{
    struct checkpoint_state checkpoint = superblock.working->checkpoint;
    checkpoint.header.op = op;
    checkpoint.header.commit = op - 1;
    checkpoint.header.timestamp = op * PULSE_EXPIRIES_MAX;
    checkpoint.header.event_count = PULSE_EXPIRIES_MAX;
    checkpoint.header.operation = PREPARE_PULSE;
    prepare_seal(&checkpoint.header);
    checkpoint.root.address = op;
    checkpoint.grid_block_count = op;
    update_done = false;
    superblock_update_checkpoint(&superblock, &checkpoint, op, update_on_done);
    return update_wait();
}

/* All four slots hold the working state. */
static bool
disk_settled(void)
{
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        struct superblock_state expected = *superblock.working;
        expected.copy = (uint16_t) copy;
        if (memcmp(superblock_copy_on_disk(&sim, copy), &expected, sizeof(expected)) != 0)
            return false;
    }
    return true;
}

UNIT_TEST(byte_table_is_as_documented)
{
#define AT(field, offset) expect_equal(offsetof(struct superblock_state, field), offset)
    AT(checksum, 0);
    AT(copy, 16);
    AT(version, 18);
    AT(reserved_head, 20);
    AT(config_fingerprint, 24);
    AT(parent, 32);
    AT(cluster, 48);
    AT(incarnation, 64);
    AT(sequence, 80);
    AT(system_identifier, 88);
    AT(prepares_size_bytes, 96);
    AT(commit_max, 104);
    AT(view, 112);
    AT(log_view, 116);
    AT(replica, 120);
    AT(replica_count, 121);
    AT(reserved_members, 122);
    AT(checkpoint, 128);
    AT(checkpoint.root, 384);
    AT(checkpoint.grid_block_count, 416);
    AT(checkpoint.reserved, 424);
    AT(reserved, 512);
#undef AT
    expect_equal(sizeof(struct superblock_state), SECTOR_SIZE);
    expect_equal(sizeof(struct block_reference), 32);
}

UNIT_TEST(format_then_open)
{
    begin(1);
    expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_ABSENT);
    expect_equal(superblock_format(&superblock, &format_options), SUPERBLOCK_OK);
    superblock_restart(&superblock, &sim);
    expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_OK);
    const struct superblock_state *state = superblock.working;
    expect(state->cluster == CLUSTER && state->incarnation == 5);
    expect_equal(state->system_identifier, 6);
    expect_equal(state->prepares_size_bytes, PREPARES_SIZE_MIN);
    expect_equal(state->replica, 1);
    expect_equal(state->replica_count, 3);
    expect_equal(state->sequence, 1);
    struct prepare_header root;
    prepare_root(&root, CLUSTER);
    expect(memcmp(&state->checkpoint.header, &root, sizeof(root)) == 0);
    expect_equal(superblock.copies_repaired, 0);
    expect(disk_settled());

    /* A second format would lose everything. */
    expect_equal(superblock_format(&superblock, &format_options), SUPERBLOCK_PRESENT);
    expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_OK);
    end();
}

UNIT_TEST(results_have_names)
{
    for (uint32_t i = SUPERBLOCK_OK; i <= SUPERBLOCK_IO_ERROR; i++) {
        expect(superblock_result_name(i)[0] != '\0');
        for (uint32_t j = 0; j < i; j++) {
            expect(strcmp(superblock_result_name(i), superblock_result_name(j)) != 0);
        }
    }
}

UNIT_TEST(s1_sequence_and_parent)
{
    begin_formatted(1);
    for (uint32_t i = 1; i <= 10; i++) {
        const struct superblock_state before = *superblock.working;
        const enum superblock_result result = i % 2 == 0 ? update_view(i, i) : update_checkpoint(i);
        expect_equal(result, SUPERBLOCK_OK);
        expect_equal(superblock.working->sequence, before.sequence + 1);
        expect(superblock.working->parent == before.checksum);
        expect(superblock.working->checksum != before.checksum);
        expect(disk_settled());
    }
    end();
}

/* (S2): each update leaves what it does not name, and open gives it back. */
UNIT_TEST(s2_updates_change_only_what_they_name)
{
    begin_formatted(1);
    expect_equal(update_checkpoint(7), SUPERBLOCK_OK);
    const u128 id = superblock_checkpoint_id(&superblock);
    expect_equal(update_view(3, 9), SUPERBLOCK_OK);
    expect(superblock_checkpoint_id(&superblock) == id);
    expect_equal(superblock.working->checkpoint.header.op, 7);
    expect_equal(update_checkpoint(12), SUPERBLOCK_OK);
    expect(superblock_checkpoint_id(&superblock) != id);
    const struct superblock_state expected = *superblock.working;
    superblock_restart(&superblock, &sim);
    expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_OK);
    expect(memcmp(superblock.working, &expected, sizeof(expected)) == 0);
    expect_equal(superblock.working->view, 3);
    expect_equal(superblock.working->log_view, 3);
    expect_equal(superblock.working->commit_max, 12);
    end();
}

static uint64_t lost_copies_mask;

static bool
fault_at_copies(void *context, enum storage_file file, uint64_t offset, uint64_t size)
{
    (void) context;
    (void) file;
    (void) size;
    return (lost_copies_mask >> (offset / SUPERBLOCK_COPY_STRIDE)) & 1;
}

/* (S3): every set of lost, failing and unreadable copies. */
UNIT_TEST(s3_durable_when_three_read_back)
{
    for (uint64_t mask = 0; mask < 16; mask++) {
        for (uint32_t kind = 0; kind < 3; kind++) {
            begin_formatted(mask + 1);
            const struct superblock_state before = *superblock.working;
            lost_copies_mask = mask;
            sim.options.fault_allowed = fault_at_copies;
            if (kind == 0) sim.options.lost_write_per_million = 1000000;
            if (kind == 1) sim.options.write_error_per_million = 1000000;
            if (kind == 2) sim.options.latent_error_per_million = 1000000;
            const int broken = __builtin_popcountll(mask);
            /* A write that is known to have failed is not made good by the other copies. */
            const bool ok = kind == 1 ? broken == 0 : broken <= 1;
            expect_equal(update_view(4, 4), ok ? SUPERBLOCK_OK : SUPERBLOCK_IO_ERROR);
            if (!ok) expect(memcmp(superblock.working, &before, sizeof(before)) == 0);
            if (ok) expect_equal(superblock.working->view, 4);
            end();
        }
    }
}

enum slot_state { SLOT_NEW, SLOT_OLD, SLOT_CORRUPT, SLOT_BLANK, SLOT_MISPLACED, SLOT_UNREADABLE };
#define SLOT_STATE_COUNT 6

static void
set_slot(
    uint32_t copy,
    enum slot_state slot,
    const struct superblock_state *new,
    const struct superblock_state *old)
{
    struct superblock_state *state = superblock_copy_on_disk(&sim, copy);
    *state = *new;
    state->copy = (uint16_t) copy;
    switch (slot) {
    case SLOT_NEW: break;
    case SLOT_OLD:
        *state = *old;
        state->copy = (uint16_t) copy;
        break;
    case SLOT_CORRUPT: ((uint8_t *) state)[prng_below(&prng, SECTOR_SIZE)] ^= 1; break;
    case SLOT_BLANK: memset(state, 0, sizeof(*state)); break;
    case SLOT_MISPLACED: state->copy = (uint16_t) ((copy + 1) % SUPERBLOCK_COPIES); break;
    case SLOT_UNREADABLE:
        storage_sim_latent_error(
            &sim, STORAGE_SUPERBLOCK, copy * SUPERBLOCK_COPY_STRIDE, SECTOR_SIZE);
        break;
    }
}

/* (S4) and (S5): every combination of what the four slots can hold. */
UNIT_TEST(s4_s5_each_combination_of_slots)
{
    begin_formatted(1);
    const struct superblock_state old = *superblock.working;
    expect_equal(update_view(1, 1), SUPERBLOCK_OK);
    const struct superblock_state new = *superblock.working;
    end();
    for (uint32_t code = 0; code < 6 * 6 * 6 * 6; code++) {
        begin(code);
        uint32_t counts[SLOT_STATE_COUNT] = {0};
        for (uint32_t copy = 0, rest = code; copy < SUPERBLOCK_COPIES; copy++, rest /= 6) {
            counts[rest % 6] += 1;
            set_slot(copy, rest % 6, &new, &old);
        }
        const struct superblock_state *expected = NULL;
        if (counts[SLOT_OLD] >= 2) expected = &old;
        if (counts[SLOT_NEW] >= 2) expected = &new;
        const enum superblock_result result = superblock_open_and_repair(&superblock);
        if (expected != NULL) {
            expect_equal(result, SUPERBLOCK_OK);
            expect(superblock.working->checksum == expected->checksum);
            expect(disk_settled()); /* (S5) */
            const uint32_t good = counts[expected == &new ? SLOT_NEW : SLOT_OLD];
            expect_equal(superblock.copies_repaired, SUPERBLOCK_COPIES - good);
            superblock_restart(&superblock, &sim);
            expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_OK);
            expect_equal(superblock.copies_repaired, 0);
            expect_equal(update_view(9, 9), SUPERBLOCK_OK);
        } else if (counts[SLOT_BLANK] == SUPERBLOCK_COPIES) {
            expect_equal(result, SUPERBLOCK_ABSENT);
        } else {
            expect_equal(result, SUPERBLOCK_QUORUM_LOST);
        }
        end();
    }
}

UNIT_TEST(s4_a_copy_two_ahead_is_no_torn_update)
{
    begin_formatted(1);
    const struct superblock_state old = *superblock.working;
    expect_equal(update_view(1, 1), SUPERBLOCK_OK);
    const struct superblock_state middle = *superblock.working;
    expect_equal(update_view(2, 2), SUPERBLOCK_OK);
    const struct superblock_state new = *superblock.working;
    for (uint32_t copy = 2; copy < SUPERBLOCK_COPIES; copy++) {
        set_slot(copy, SLOT_NEW, &old, &old);
    }
    set_slot(1, SLOT_NEW, &middle, &middle);
    expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_QUORUM_LOST);
    /* Two of the newest are enough, whatever the others are. */
    set_slot(1, SLOT_NEW, &new, &new);
    expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_OK);
    expect_equal(superblock.working->view, 2);
    expect(disk_settled());
    end();
}

UNIT_TEST(s4_forks_are_refused)
{
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        /* One sequence, two contents. */
        begin_formatted(1);
        expect_equal(update_view(1, 1), SUPERBLOCK_OK);
        superblock_copy_on_disk(&sim, copy)->view += 1;
        reseal(superblock_copy_on_disk(&sim, copy));
        struct superblock_state before = *superblock_copy_on_disk(&sim, copy);
        expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_FORK);
        expect(memcmp(superblock_copy_on_disk(&sim, copy), &before, sizeof(before)) == 0);

        /* The next sequence, not a child; and the same with the roles changed. */
        superblock_copy_on_disk(&sim, copy)->sequence += 1;
        reseal(superblock_copy_on_disk(&sim, copy));
        expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_FORK);
        superblock_copy_on_disk(&sim, copy)->sequence -= 2;
        reseal(superblock_copy_on_disk(&sim, copy));
        expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_FORK);
        end();
    }
}

UNIT_TEST(s5_what_cannot_be_repaired_stops_the_open)
{
    /*
     * A write that fails; and one that is lost, over a copy that could make a fork of the next
     * update.
     */
    for (uint32_t kind = 0; kind < 2; kind++) {
        begin_formatted(1);
        const struct superblock_state old = *superblock.working;
        expect_equal(update_view(1, 1), SUPERBLOCK_OK);
        for (uint32_t copy = 1; copy < SUPERBLOCK_COPIES; copy++) {
            set_slot(copy, SLOT_NEW, &old, &old);
        }
        if (kind == 0) sim.options.write_error_per_million = 1000000;
        if (kind == 1) sim.options.lost_write_per_million = 1000000;
        superblock_restart(&superblock, &sim);
        expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_IO_ERROR);
        sim.options.write_error_per_million = 0;
        sim.options.lost_write_per_million = 0;
        expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_OK);
        expect_equal(superblock.working->sequence, 1);
        end();
    }
}

UNIT_TEST(other_versions_and_configurations_are_left_alone)
{
    begin_formatted(1);
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        superblock_copy_on_disk(&sim, copy)->version += 1;
        superblock_copy_on_disk(&sim, copy)->reserved[0] = 1; /* May mean something there. */
        reseal(superblock_copy_on_disk(&sim, copy));
    }
    memset(superblock_copy_on_disk(&sim, 3), 0, SECTOR_SIZE);
    expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_OTHER_VERSION);
    expect_equal(superblock_copy_on_disk(&sim, 3)->sequence, 0);
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        *superblock_copy_on_disk(&sim, copy) = *superblock_copy_on_disk(&sim, 0);
        superblock_copy_on_disk(&sim, copy)->copy = (uint16_t) copy;
        superblock_copy_on_disk(&sim, copy)->version = DISK_FORMAT_VERSION;
        superblock_copy_on_disk(&sim, copy)->config_fingerprint = CONFIG_FINGERPRINT ^ 1;
        reseal(superblock_copy_on_disk(&sim, copy));
    }
    expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_OTHER_CONFIG);
    end();
}

UNIT_TEST(sealed_nonsense_counts_as_invalid)
{
    begin_formatted(1);
    for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
        superblock_copy_on_disk(&sim, copy)->checkpoint.header.op += 1;
        reseal(superblock_copy_on_disk(&sim, copy));
    }
    expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_QUORUM_LOST);
    end();
}

/* Power fails at each event of an update: the state is the one before or the one after, whole. */
UNIT_TEST(a_torn_update)
{
    uint32_t taken_new = 0, taken_old = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        for (uint64_t event = 1; event <= 24; event++) {
            begin_formatted(seed);
            const struct superblock_state old = *superblock.working;
            storage_sim_crash_after(&sim, event);
            (void) update_view(1, 1);
            expect(sim.crashed || event == 24);
            if (sim.crashed) expect(update_done);
            const bool durable = update_result == SUPERBLOCK_OK;
            if (sim.crashed) storage_sim_restart(&sim);
            superblock_restart(&superblock, &sim);
            expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_OK);
            const bool is_old = memcmp(superblock.working, &old, sizeof(old)) == 0;
            if (!is_old) expect_equal(superblock.working->view, 1);
            if (durable) expect(!is_old);
            taken_old += is_old;
            taken_new += !is_old;
            expect(disk_settled());
            end();
        }
    }
    expect(taken_new > 100 && taken_old > 50);
}

static enum superblock_result
update_owner(u128 incarnation, uint64_t system_identifier)
{
    update_done = false;
    superblock_update_owner(&superblock, incarnation, system_identifier, update_on_done);
    return update_wait();
}

/* (S1) and (S2) hold for a change of owner too: all but the owner stays. */
UNIT_TEST(s1_s2_another_owner)
{
    begin_formatted(1);
    expect_equal(update_checkpoint(7), SUPERBLOCK_OK);
    expect_equal(update_view(3, 9), SUPERBLOCK_OK);
    struct superblock_state expected = *superblock.working;
    expect_equal(update_owner(50, 60), SUPERBLOCK_OK);
    expected.parent = expected.checksum;
    expected.sequence += 1;
    expected.incarnation = 50;
    expected.system_identifier = 60;
    reseal(&expected);
    superblock_restart(&superblock, &sim);
    expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_OK);
    expect(memcmp(superblock.working, &expected, sizeof(expected)) == 0);
    expect(disk_settled());
    end();
}

/* Power fails at each event of a change of owner: it is the old one's or the new one's. */
UNIT_TEST(a_torn_change_of_owner)
{
    uint32_t taken_new = 0, taken_old = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        for (uint64_t event = 1; event <= 24; event++) {
            begin_formatted(seed);
            storage_sim_crash_after(&sim, event);
            (void) update_owner(50, 60);
            const bool durable = update_result == SUPERBLOCK_OK;
            if (sim.crashed) storage_sim_restart(&sim);
            superblock_restart(&superblock, &sim);
            expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_OK);
            const bool is_new = superblock.working->incarnation == 50;
            expect_equal(superblock.working->system_identifier, is_new ? 60 : 6);
            expect(is_new || superblock.working->incarnation == 5);
            if (durable) expect(is_new);
            taken_new += is_new;
            taken_old += !is_new;
            expect(disk_settled());
            end();
        }
    }
    expect(taken_new > 100 && taken_old > 50);
}

/*
 * (S6): two copies are bad, whichever, since the last update; and power fails at each event of the
 * next.
 */
UNIT_TEST(s6_a_torn_update_over_bad_copies)
{
    uint32_t torn = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        for (uint64_t mask = 1; mask < 16; mask++) {
            if (__builtin_popcountll(mask) > 2) continue;
            for (uint64_t event = 1; event <= 24; event++) {
                begin_formatted(seed);
                for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
                    const uint64_t offset = copy * SUPERBLOCK_COPY_STRIDE;
                    if (((mask >> copy) & 1) == 0) continue;
                    storage_sim_rot(&sim, STORAGE_SUPERBLOCK, offset, SECTOR_SIZE);
                }
                storage_sim_crash_after(&sim, event);
                (void) update_view(1, 1);
                const bool durable = update_result == SUPERBLOCK_OK;
                torn += sim.crashed;
                if (sim.crashed) storage_sim_restart(&sim);
                superblock_restart(&superblock, &sim);
                expect_equal(superblock_open_and_repair(&superblock), SUPERBLOCK_OK);
                expect(superblock.working->view == 1 || !durable);
                expect(disk_settled());
                end();
            }
        }
    }
    expect(torn > 1000);
}

/* (S5): whose it is, the caller compares before anything is written. */
UNIT_TEST(s5_open_writes_nothing)
{
    begin_formatted(1);
    memset(superblock_copy_on_disk(&sim, 1), 0, SECTOR_SIZE);
    storage_sim_rot(&sim, STORAGE_SUPERBLOCK, 3 * SUPERBLOCK_COPY_STRIDE, SECTOR_SIZE);
    const uint64_t writes = sim.counters.writes;
    superblock_restart(&superblock, &sim);
    expect_equal(superblock_open(&superblock), SUPERBLOCK_OK);
    expect_equal(sim.counters.writes, writes);
    expect_equal(superblock_repair(&superblock), SUPERBLOCK_OK);
    expect_equal(sim.counters.writes, writes + 2);
    expect_equal(superblock.copies_repaired, 2);
    expect(disk_settled());
    end();
}

UNIT_TEST(a_file_cut_short)
{
    for (uint64_t size = 0; size < SUPERBLOCK_FILE_SIZE; size += SECTOR_SIZE) {
        begin_formatted(1);
        sim.storage.file_size_bytes[STORAGE_SUPERBLOCK] = size;
        sim.files[STORAGE_SUPERBLOCK].size_bytes = size;
        const uint64_t left = (size + SUPERBLOCK_COPY_STRIDE - 1) / SUPERBLOCK_COPY_STRIDE;
        const enum superblock_result result = superblock_open_and_repair(&superblock);
        if (size == 0) {
            expect_equal(result, SUPERBLOCK_ABSENT);
        } else if (left < 2) {
            expect_equal(result, SUPERBLOCK_QUORUM_LOST);
        } else {
            expect_equal(result, SUPERBLOCK_OK);
            expect_equal(sim.storage.file_size_bytes[STORAGE_SUPERBLOCK], SUPERBLOCK_FILE_SIZE);
            expect(disk_settled());
        }
        end();
    }
}

UNIT_MAIN(test_superblock)
