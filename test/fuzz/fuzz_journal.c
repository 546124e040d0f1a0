/* SPDX-License-Identifier: PostgreSQL */
/*
 * Recovery of the journal from mutated logs. Whatever the bytes are: it ends, what it gives back is
 * what was written, an op is dropped only if both logs have lost it and all after it, and damage is
 * reported only where there is some.
 */
#include "../unit/journal_fixture.h"

#include <string.h>

#include "fuzz.h"

/* After the checkpoint: at most 2 + 3 before the crash, the torn one, and one after recovery. */
#define APPENDS_MAX 7

static_assert(PREPARES_SIZE_MIN >= (APPENDS_MAX + 1) * PREPARE_SIZE_MAX, "room, even for a skip");

enum mutation {
    MUTATE_BIT,
    MUTATE_BYTES,
    MUTATE_UNREADABLE,
    MUTATE_ZERO,
    MUTATE_COPY,
    MUTATE_STALE,
    MUTATE_CUT_SHORT,
    MUTATION_COUNT,
};

struct fuzz_state {
    struct journal_fixture fixture;
    struct journal_image stale;   /* From before the last few appends. */
    struct journal_image mutated; /* What recovery meets. */
    uint64_t acknowledged;
    bool crashed; /* The append after `acknowledged` was under way. */
    bool blind;   /* Some sectors can't be read. */
};

static uint64_t
random_sector(struct fuzz_state *state, enum storage_file file)
{
    const uint64_t size = state->fixture.sim.storage.file_size_bytes[file];
    assert(size > 0);
    return prng_below(&state->fixture.prng, size / SECTOR_SIZE) * SECTOR_SIZE;
}

static void
mutate(struct fuzz_state *state, enum mutation mutation)
{
    struct storage_sim *sim = &state->fixture.sim;
    struct prng *prng = &state->fixture.prng;
    const enum storage_file file = prng_chance(prng, 1, 3) ? STORAGE_HEADERS : STORAGE_PREPARES;
    if (sim->storage.file_size_bytes[file] == 0) return;
    uint8_t *bytes = storage_sim_bytes(sim, file);
    const uint64_t offset = random_sector(state, file);
    const uint64_t within = prng_below(prng, SECTOR_SIZE);
    switch (mutation) {
    case MUTATE_BIT: bytes[offset + within] ^= (uint8_t) (1 << prng_below(prng, 8)); break;
    case MUTATE_BYTES:
        for (uint64_t i = offset + within; i < offset + SECTOR_SIZE; i++) {
            bytes[i] = (uint8_t) prng_next(prng);
        }
        break;
    case MUTATE_UNREADABLE:
        storage_sim_latent_error(sim, file, offset, SECTOR_SIZE);
        state->blind = true;
        break;
    case MUTATE_ZERO: memset(bytes + offset, 0, SECTOR_SIZE); break;
    case MUTATE_COPY:
        memmove(bytes + random_sector(state, file), bytes + offset, SECTOR_SIZE);
        break;
    case MUTATE_STALE: {
        const uint8_t *stale =
            file == STORAGE_HEADERS ? state->stale.headers : state->stale.prepares;
        memcpy(bytes + offset, stale + offset, SECTOR_SIZE);
        break;
    }
    case MUTATE_CUT_SHORT:
        if (!prng_chance(prng, 1, 8)) break;
        sim->storage.file_size_bytes[file] = offset;
        sim->files[file].size_bytes = offset;
        state->blind = true;
        break;
    case MUTATION_COUNT: unreachable();
    }
}

/* Whole and readable, where it belongs. */
static bool
intact(
    struct fuzz_state *state,
    enum storage_file file,
    uint64_t offset,
    const void *expected,
    uint64_t size)
{
    const struct journal_image *image = &state->mutated;
    const bool headers = file == STORAGE_HEADERS;
    const uint64_t file_size = headers ? image->headers_size : image->prepares_size;
    const uint8_t *bytes = headers ? image->headers : image->prepares;
    if (offset + size > file_size) return false;
    if (storage_sim_faulty(&state->fixture.sim, file, offset, size)) return false;
    return memcmp(bytes + offset, expected, size) == 0;
}

static bool
prepare_intact(struct fuzz_state *state, uint64_t op)
{
    const struct prepare_header *message = journal_fixture_message(&state->fixture, op);
    return intact(
        state,
        STORAGE_PREPARES,
        journal_fixture_place(&state->fixture, message),
        message,
        prepare_size_on_disk(message));
}

static bool
header_intact(struct fuzz_state *state, uint64_t op)
{
    return intact(
        state,
        STORAGE_HEADERS,
        journal_fixture_slot_offset(&state->fixture, op),
        journal_fixture_message(&state->fixture, op),
        PREPARE_HEADER_SIZE);
}

static void
build(struct fuzz_state *state, uint64_t seed)
{
    struct journal_fixture *fixture = &state->fixture;
    memset(state, 0, sizeof(*state));
    struct prng prng;
    prng_init(&prng, seed);
    const uint64_t ring_size = prng_range(&prng, 1, 3) * PREPARES_SIZE_MIN;
    journal_fixture_init(fixture, ring_size, seed);
    journal_fixture_fill(fixture, prng_below(&prng, 4), 0);
    const uint64_t before = prng_below(&prng, 3), after = prng_below(&prng, APPENDS_MAX - 3);
    for (uint64_t i = 0; i < before; i++) {
        (void) journal_fixture_append(fixture, journal_fixture_random_size_body(fixture));
    }
    state->stale = journal_image_save(fixture);
    for (uint64_t i = 0; i < after; i++) {
        (void) journal_fixture_append(fixture, journal_fixture_random_size_body(fixture));
    }
    if (prng_chance(&prng, 1, 2)) {
        storage_sim_crash_after(&fixture->sim, prng_range(&prng, 1, 4));
        (void) journal_fixture_append(fixture, journal_fixture_random_size_body(fixture));
        storage_sim_restart(&fixture->sim);
        state->crashed = true;
    }
    state->acknowledged = fixture->op_head;
}

static void
check_recovered(struct fuzz_state *state, const struct journal_report *report)
{
    struct journal_fixture *fixture = &state->fixture;
    assert(report->op_head <= state->acknowledged + state->crashed);
    assert(journal_fixture_log_equals(fixture, report->op_head));

    struct journal_report again;
    const uint64_t left = journal_fixture_headers_left(fixture, report->op_head);
    const enum journal_recovery result = journal_fixture_recover(fixture, &again);
    assert(result == JOURNAL_RECOVERED);
    assert(again.op_head == report->op_head);
    assert(again.headers_fixed == left && !again.tail_cut);

    fixture->op_head = report->op_head;
    const enum storage_result append = journal_fixture_append(fixture, 200);
    assert(append == STORAGE_OK);
    const enum journal_recovery after = journal_fixture_recover(fixture, &again);
    assert(after == JOURNAL_RECOVERED);
    assert(journal_fixture_log_equals(fixture, report->op_head + 1));
}

static void
check(struct fuzz_state *state)
{
    struct journal_fixture *fixture = &state->fixture;
    struct journal_report report;
    state->mutated = journal_image_save(fixture);
    /* Asked before recovery heals what it overwrites. */
    bool lost[FIXTURE_OPS_MAX] = {false};
    bool damaged[FIXTURE_OPS_MAX] = {false};
    const uint64_t op_end = state->acknowledged + state->crashed;
    for (uint64_t op = fixture->checkpoint.op + 1; op <= op_end; op++) {
        damaged[op] = !prepare_intact(state, op);
        lost[op] = damaged[op] && !header_intact(state, op);
    }
    switch (journal_fixture_recover(fixture, &report)) {
    case JOURNAL_RECOVERED:
        for (uint64_t op = report.op_head + 1; op <= state->acknowledged; op++) {
            assert(lost[op]);
        }
        check_recovered(state, &report);
        break;
    case JOURNAL_RECOVERY_SHORT: /* Nothing is known to be committed, nor of views. */
    case JOURNAL_RECOVERY_AHEAD: unreachable();
    case JOURNAL_RECOVERY_DAMAGED:
        assert(report.damage != NULL);
        assert(report.uncertain == (report.damage->decision == JOURNAL_UNCERTAIN));
        assert(report.uncertain || report.damage->decision == JOURNAL_REPAIR);
        assert(report.damage_op > fixture->checkpoint.op);
        assert(report.damage_op <= op_end + report.uncertain);
        assert(report.damage_op > op_end || damaged[report.damage_op]);
        assert(journal_image_equals(fixture, &state->mutated));
        break;
    case JOURNAL_RECOVERY_IO_ERROR:
        assert(state->blind);
        assert(journal_image_equals(fixture, &state->mutated));
        break;
    }
    journal_image_free(&state->mutated);
}

/* Headers with the right checksum and nonsense in them: only the end of recovery is asserted. */
static void
forge(struct fuzz_state *state)
{
    struct journal_fixture *fixture = &state->fixture;
    struct prng *prng = &fixture->prng;
    for (uint64_t i = prng_range(prng, 1, 12); i > 0; i--) {
        const bool in_headers = prng_chance(prng, 1, 2);
        const enum storage_file file = in_headers ? STORAGE_HEADERS : STORAGE_PREPARES;
        uint8_t *at = storage_sim_bytes(&fixture->sim, file) + random_sector(state, file);
        if (in_headers) at += prng_below(prng, HEADERS_PER_SECTOR) * PREPARE_HEADER_SIZE;
        struct prepare_header header =
            *journal_fixture_message(fixture, prng_range(prng, 0, fixture->op_head));
        static const uint64_t steps[] = {0, 1, 2, 15, 16, 17, UINT64_MAX, UINT64_MAX - 1};
        header.op += steps[prng_below(prng, ARRAY_COUNT(steps))];
        header.position += steps[prng_below(prng, ARRAY_COUNT(steps))] * SECTOR_SIZE;
        if (prng_chance(prng, 1, 2)) header.parent = fixture->journal.head.checksum;
        if (prng_chance(prng, 1, 4)) header.op = fixture->op_head + 1;
        if (prng_chance(prng, 7, 8)) header.commit = header.op - 1;
        if (prng_chance(prng, 1, 4)) header.position = fixture->ring_size;
        if (prng_chance(prng, 1, 4)) header.operation = (uint8_t) prng_below(prng, 5);
        const uint32_t size = (uint32_t) prng_below(prng, PREPARE_SIZE_MAX + 2);
        if (prng_chance(prng, 1, 4)) header.size = size;
        if (header.operation == PREPARE_PULSE) header.size = PREPARE_HEADER_SIZE;
        const uint8_t *bytes = (const uint8_t *) &header;
        header.checksum_body = checksum(bytes + PREPARE_HEADER_SIZE, 0);
        header.checksum = checksum(bytes + 16, PREPARE_HEADER_SIZE - 16);
        memcpy(at, &header, sizeof(header));
        if (prng_chance(prng, 1, 2) && !in_headers) {
            memset(at + PREPARE_HEADER_SIZE, 0, SECTOR_SIZE - PREPARE_HEADER_SIZE);
        }
    }
    struct journal_report report;
    (void) journal_fixture_recover(fixture, &report);
}

void
fuzz_journal(struct prng *prng, uint64_t rounds)
{
    static struct fuzz_state state;
    for (uint64_t round = 0; round < rounds; round++) {
        build(&state, prng_next(prng));
        if (prng_chance(prng, 1, 5)) {
            forge(&state);
        } else {
            /* Mostly a few, now and then a disk in ruins. */
            const uint64_t count = prng_below(prng, prng_chance(prng, 1, 4) ? 40 : 4);
            for (uint64_t i = 0; i < count; i++) {
                mutate(&state, prng_below(prng, MUTATION_COUNT));
            }
            check(&state);
        }
        journal_image_free(&state.stale);
        journal_fixture_free(&state.fixture);
    }
}
