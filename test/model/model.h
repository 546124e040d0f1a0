/* SPDX-License-Identifier: PostgreSQL */
/*
 * The model: the accounting rules once more, written from their specification alone, to be obvious.
 *
 * It shares no code with src/ledger, only the record layouts. Everything is in arrays in order of
 * timestamp; queries look at every record. The ledger and the model get the same calls, and must
 * answer the same bytes.
 *
 * Where the specification leaves a choice, the model takes this one:
 *  - An imported event's timestamp must be less than its own slot.
 *  - Transfers and expiries are one ordered line of events: an imported transfer must be newer than
 *    both.
 *  - A timestamp names one thing: an account may not be imported at a transfer's or an expiry's
 *    timestamp.
 *  - An event of a chain that failed because another did reports its slot, also where it was
 *    imported.
 */
#ifndef LEDGER_TEST_MODEL_MODEL_H
#define LEDGER_TEST_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "ledger/types.h"

#define MODEL_NONE UINT32_MAX

/* A list of ids, each once. An id's index is its place in the list. */
struct model_ids {
    u128 *ids;
    uint32_t *next;  /* The id of the same bucket that was added before; MODEL_NONE at the end. */
    uint32_t *heads; /* Per bucket, the id that was added last. */
    uint32_t bucket_count;
    uint32_t count;
    uint32_t count_max;
};

/* What a broken chain must find again. */
struct model_scope {
    uint32_t account_count;
    uint32_t transfer_count;
    uint32_t event_count;
    struct account *accounts;
    uint8_t *statuses;
};

struct model {
    /* accounts[i] has account_ids.ids[i]; likewise transfers. Ascending by timestamp. */
    struct model_ids account_ids;
    struct account *accounts;
    bool *closed_from_birth;

    struct model_ids transfer_ids;
    struct transfer *transfers;
    uint8_t *statuses;          /* enum pending_status of transfers[i]. */
    uint64_t *resolved_at;      /* When transfers[i] was resolved, if its status says so, */
    u128 *resolved_by;          /* and by which post or void; 0: it expired. */
    struct model_ids burnt_ids; /* Ids of transfers that may never succeed. */

    /* One for each transfer and each expiry, ascending by timestamp. */
    struct change_event *events;
    uint32_t event_count;
    uint32_t event_count_max;

    uint64_t timestamp; /* The newest slot that was ever given out. */

    /* The last hold that a pulse has passed: when it expires, or would have, and its timestamp. */
    uint64_t pulsed_expires_at;
    uint64_t pulsed_timestamp;
    struct model_scope scope;
};

/* As many as will ever be created. Burnt ids count as transfers. */
void model_init(struct model *model, uint32_t accounts_max, uint32_t transfers_max);
void model_free(struct model *model);

/* As it was when it was new. */
void model_clear(struct model *model);

/*
 * LEDGER_CREATE_ACCOUNTS or _TRANSFERS. Event i of `count` has the slot timestamp_final − count + i
 * + 1.
 */
void model_execute(
    struct model *model,
    uint8_t operation,
    const void *events,
    uint32_t count,
    uint64_t timestamp_final,
    struct create_result *results);

/*
 * Is a pending transfer due at this time? Or have PULSE_PASSED_MAX become due, and been resolved,
 * since the last pulse?
 */
bool model_pulse_due(const struct model *model, uint64_t timestamp);

/* Lets the first PULSE_EXPIRIES_MAX pending transfers that are due expire. */
void model_pulse(struct model *model, uint64_t timestamp_final);

/* Is the input of a read well-formed? */
bool model_read_valid(uint8_t operation, const void *input, uint32_t size);

/*
 * Answers a read with at most reply_size_max bytes; returns how many. An invalid input has an empty
 * answer.
 */
uint32_t model_read(
    const struct model *model,
    uint8_t operation,
    const void *input,
    uint32_t size,
    void *reply,
    uint32_t reply_size_max);

/* Asserts that the books add up: everything is summed up anew from the transfers. */
void model_check_invariants(const struct model *model);

/* ---- What it was earlier --------------------------------------------------------------------- */

/* A model as it was at a moment, for model_read. It refers to the model, which goes on. */
struct model_past {
    struct model model;
    /* Copies of what changes in place: all else only gets longer. */
    struct account *accounts;
    uint8_t *statuses;
    uint32_t accounts_max;
    uint32_t transfers_max;
};

void model_past_init(struct model_past *past, uint32_t accounts_max, uint32_t transfers_max);
void model_past_free(struct model_past *past);
void model_past_take(struct model_past *past, const struct model *model);

/* ---- For tests that look inside -------------------------------------------------------------- */

/* Index of the id, or MODEL_NONE. */
uint32_t model_ids_find(const struct model_ids *ids, u128 id);

const struct account *model_account(const struct model *model, u128 id);
const struct transfer *model_transfer(const struct model *model, u128 id);

/* When the pending transfer expires; 0: it does not, or it is resolved. */
uint64_t model_expires_at(const struct model *model, uint32_t transfer_index);

#endif
