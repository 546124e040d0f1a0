/* SPDX-License-Identifier: PostgreSQL */
/*
 * The accounting state machine: implements vsr/state_machine.h over the forest.
 *
 * Pure: no clock, no I/O, no randomness. Time is each event's slot timestamp.
 */
#ifndef LEDGER_LEDGER_LEDGER_H
#define LEDGER_LEDGER_LEDGER_H

#include <stdint.h>

#include "base/arena.h"
#include "ledger/types.h"
#include "lsm/forest.h"
#include "vsr/state_machine.h"

/* Trees and indexes, in the order of ledger_schema. */
enum ledger_tree {
    TREE_ACCOUNT,
    TREE_TRANSFER,
    TREE_TRANSFER_PENDING,
    TREE_ACCOUNT_EVENT,
    TREE_BURNT_ID,
};

enum ledger_index {
    INDEX_ACCOUNT_USER_DATA_128,
    INDEX_ACCOUNT_USER_DATA_64,
    INDEX_ACCOUNT_USER_DATA_32,
    INDEX_ACCOUNT_LEDGER,
    INDEX_ACCOUNT_CODE,
    INDEX_TRANSFER_DEBIT_ACCOUNT,
    INDEX_TRANSFER_CREDIT_ACCOUNT,
    INDEX_TRANSFER_USER_DATA_128,
    INDEX_TRANSFER_USER_DATA_64,
    INDEX_TRANSFER_USER_DATA_32,
    INDEX_TRANSFER_LEDGER,
    INDEX_TRANSFER_CODE,
    INDEX_PENDING_EXPIRES_AT,
};

extern const struct forest_schema ledger_schema;

struct ledger {
    struct state_machine machine; /* First. */
    uint64_t *expired;            /* Scratch: PULSE_EXPIRIES_MAX timestamps. */
};

void ledger_init(struct ledger *ledger, struct arena *arena, struct forest *forest);

/*
 * Is this read's input well-formed: sizes, reserved bytes, limits, timestamps, flags (accounting
 * rules of invalid filters)? NULL if it is; else what is wrong, as a phrase for people.
 */
const char *ledger_read_check(uint8_t operation, const void *input, uint32_t input_size);

/* Bytes of one row of the operation's reply. */
uint32_t ledger_row_size(uint8_t operation);

/* Bytes of one element of the operation's input: an event, an id, or a filter. */
uint32_t ledger_input_size(uint8_t operation);

#endif
