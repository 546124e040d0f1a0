/* SPDX-License-Identifier: PostgreSQL */
/*
 * Reads both logs from the checkpoint to the head again, while the journal works, and compares them
 * with what was written: first the prepares, each whole, and the child of the one before; then
 * their entries in the headers log, which are the same headers.
 *
 * Numbered invariants (asserted, tested under their number):
 *  (J5) what is being read is not overwritten: no prepare, even if a checkpoint passes it
 *       meanwhile, and no sector of the headers log.
 */
#ifndef LEDGER_STORE_JOURNAL_CHECK_H
#define LEDGER_STORE_JOURNAL_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "store/journal.h"

enum journal_check_step {
    JOURNAL_CHECK_WAIT,
    JOURNAL_CHECK_STARTED, /* A read. */
    JOURNAL_CHECK_WHOLE,
    JOURNAL_CHECK_DAMAGED, /* The prepare header.op is. */
    JOURNAL_CHECK_HEADER_DAMAGED, /* The entry of header.op in the headers log is. */
    JOURNAL_CHECK_END,
};

struct journal_check {
    struct journal *journal;
    struct storage_request read;
    struct prepare_header header; /* What the header of the current prepare should be. */
    u128 parent;                  /* Checksum of the header before. */
    uint64_t op;                  /* All up to it were checked. */
    uint64_t op_end;
    bool headers;    /* The second half: the headers log. */
    uint64_t sector; /* The sector of the headers log in the buffer; UINT64_MAX: none. */
    bool reading;
    bool read_done;
};

void journal_check_init(struct journal_check *check, struct journal *journal);

/* From the checkpoint as it is now to the head as it is now. No read is under way. */
void journal_check_start(struct journal_check *check);

/* Uses the journal's buffer. */
enum journal_check_step journal_check_step(struct journal_check *check);

#endif
