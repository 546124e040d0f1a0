/* SPDX-License-Identifier: PostgreSQL */
/*
 * The accounting state machine over a real forest on a simulated disk, and the model beside it.
 *
 * Every call goes to both, and their answers are compared byte for byte. The clock stands still but
 * for the calls below.
 */
#ifndef LEDGER_TEST_UNIT_LEDGER_FIXTURE_H
#define LEDGER_TEST_UNIT_LEDGER_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/prng.h"
#include "ledger/ledger.h"
#include "model/model.h"
#include "sim/storage_sim.h"
#include "store/grid.h"

/* Enough for every reply. */
#define FIXTURE_REPLY_SIZE_MAX (RESULTS_MAX * 384)

struct ledger_fixture_options {
    uint32_t accounts_max;
    uint32_t transfers_max;
    uint64_t memory_bytes; /* Of the forest, beyond its least. */
};

struct ledger_fixture {
    struct ledger_fixture_options options;
    struct prng prng;
    struct storage_sim storage;
    struct arena arena;
    void *memory;
    struct grid grid;
    struct forest *forest;
    struct ledger ledger;
    struct model model;

    uint32_t reply_size_max; /* Of reads: FIXTURE_REPLY_SIZE_MAX unless changed. */
    struct ledger_instant instant; /* Of the newest ledger_fixture_ask. */

    uint64_t timestamp;  /* The newest slot given out, or the present time. */
    uint32_t mismatches; /* Calls that ledger and model answered differently; each was printed. */
    uint64_t op;         /* Newest one committed. */
    struct block_reference root;
    bool checkpoint_done;
};

/* NULL: small defaults. */
void
ledger_fixture_init(struct ledger_fixture *fixture, const struct ledger_fixture_options *options);
void ledger_fixture_free(struct ledger_fixture *fixture);

/* Compares everything, then frees it. Returns how often ledger and model have differed. */
uint32_t ledger_fixture_finish(struct ledger_fixture *fixture);

/* Lets time pass. */
void ledger_fixture_advance(struct ledger_fixture *fixture, uint64_t duration_ns);

/* Creates a batch: event i has the slot fixture->timestamp + i + 1. */
void ledger_fixture_create(
    struct ledger_fixture *fixture,
    uint8_t operation,
    const void *events,
    uint32_t count,
    struct create_result *results);

/*
 * The same for events that are all created; asserts that they are. Returns the timestamp of the
 * last one.
 */
uint64_t ledger_fixture_add(
    struct ledger_fixture *fixture, uint8_t operation, const void *events, uint32_t count);

/* The op that was begun is committed, and all its work is done. */
void ledger_fixture_op_commit(struct ledger_fixture *fixture);

/* Executes one pulse if one is due; says whether. */
bool ledger_fixture_pulse(struct ledger_fixture *fixture);

/* Executes one, whether one is due or not: as a replay does, without asking. */
void ledger_fixture_pulse_replay(struct ledger_fixture *fixture);

/* What ledger_fixture_pulse asks. */
bool ledger_fixture_pulse_due(struct ledger_fixture *fixture, uint64_t timestamp);

/* Lets storage and forest get on, for one who waits. */
void ledger_fixture_progress(struct ledger_fixture *fixture);

/* Goes on with a read that has been started, to its end. */
enum forest_found
ledger_fixture_read_finish(struct ledger_fixture *fixture, struct ledger_read *read);

/* A read that the model is not asked. Returns the bytes of the reply. */
uint32_t ledger_fixture_ask(struct ledger_fixture *fixture, const struct ledger_question *asked);

/* Is the read's input well-formed? */
bool ledger_fixture_read_valid(
    struct ledger_fixture *fixture, uint8_t operation, const void *input, uint32_t size);

/*
 * Reads; returns the bytes written to reply (FIXTURE_REPLY_SIZE_MAX). An invalid input has an empty
 * answer.
 */
uint32_t ledger_fixture_read(
    struct ledger_fixture *fixture,
    uint8_t operation,
    const void *input,
    uint32_t size,
    void *reply);

/* False if there is none. */
bool ledger_fixture_account(struct ledger_fixture *fixture, u128 id, struct account *account);
bool ledger_fixture_transfer(struct ledger_fixture *fixture, u128 id, struct transfer *transfer);

/* Compares every account, transfer, balance and event there is, and checks the books. */
void ledger_fixture_compare(struct ledger_fixture *fixture);

void ledger_fixture_checkpoint(struct ledger_fixture *fixture);

/* Takes a checkpoint, forgets the memory, and opens the checkpoint. */
void ledger_fixture_reopen(struct ledger_fixture *fixture);

#endif
