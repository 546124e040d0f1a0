/* SPDX-License-Identifier: PostgreSQL */
/*
 * A backend's way to the engine: one request at a time, through a slot in shared memory.
 *
 *      struct client_call call;
 *      client_begin(&call, LEDGER_CREATE_TRANSFERS, count, count); reserves a slot; may wait, raise
 *      … fill call.input, call.input_size …
 *      client_run(&call);                                           hands it over, waits; may raise
 *      … read call.reply, call.reply_size …
 *      client_end(&call);
 *
 * Waits can be cancelled. If a call had been handed over and could write, and is then cancelled or
 * fails, the ERROR says that the outcome is unknown, and that it can be retried with the same id.
 * After an ERROR, callbacks of transaction and exit give slots back. A session may have several
 * calls under way, at most CLIENT_CALLS_MAX. But while it has one, it gets an ERROR instead of
 * having to wait for a free slot, so that sessions never wait for each other in a circle.
 */
#ifndef LEDGER_PG_CLIENT_CLIENT_H
#define LEDGER_PG_CLIENT_CLIENT_H

#include "engine/engine.h"

#define CLIENT_CALLS_MAX 4

struct client_call {
    uint8_t operation;
    void *input;         /* In shared memory: input_size_max bytes, aligned to 16 bytes. */
    uint32_t input_size; /* Set by the caller before client_run. */
    uint32_t input_size_max;
    /*
     * For reads: the state to read. If it isn't `known`, the present one. Afterwards it says which
     * it was.
     */
    struct ledger_instant instant;
    const void *reply; /* In shared memory, valid until client_end. */
    uint32_t reply_size;
    uint32_t slot;
};

/*
 * Reserves a slot that can take element_count inputs (see ledger_input_size) and a reply of
 * reply_rows rows.
 */
void client_begin(
    struct client_call *call,
    enum ledger_operation operation,
    uint32_t element_count,
    uint32_t reply_rows);

/*
 * client_submit hands the call over without waiting, and client_wait waits. client_run does both.
 */
void client_submit(struct client_call *call);
void client_wait(struct client_call *call);
void client_run(struct client_call *call);

void client_end(struct client_call *call);

#endif
