/* SPDX-License-Identifier: PostgreSQL */
/*
 * Reads both logs from the checkpoint to the head once more, while the journal works, and compares
 * them with what was written. First come the prepares: each must be whole, and the child of the one
 * before. Then come the entries of headers.wal, which must hold the same headers.
 *
 * It is done in steps, so that the engine works on meanwhile: journal_check_start, then
 * journal_check_step again and again until it returns JOURNAL_CHECK_END. A step that finds damage
 * says so, and the next step goes on behind it.
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
    JOURNAL_CHECK_STARTED, /* A read was started. */
    JOURNAL_CHECK_WHOLE,
    JOURNAL_CHECK_DAMAGED, /* The prepare of header.op is damaged. */
    JOURNAL_CHECK_HEADER_DAMAGED, /* The entry of header.op in headers.wal is damaged. */
    JOURNAL_CHECK_END,
};

struct journal_check {
    struct journal *journal;
    struct storage_request read;
    struct prepare_header header; /* The header that the current prepare should have. */
    u128 parent;                  /* Checksum of the header of the op before. */
    uint64_t op;                  /* Everything up to this op was checked. */
    uint64_t op_end;
    uint64_t truncations; /* Of the journal, when the check was started. */
    bool headers;    /* The second half has begun: entries of headers.wal are checked. */
    /*
     * Entries of consecutive ops lie in HEADERS_INTERLEAVED sectors. All that were read of this
     * group of sectors are in the buffer, each at its place: bit i of `sectors` is of sector i.
     */
    uint64_t group;
    uint32_t sectors;
    enum storage_result results[HEADERS_INTERLEAVED];
    uint64_t sector; /* The sector of headers.wal that is being read, or was read last. */
    bool reading;
    bool read_done;
};

void journal_check_init(struct journal_check *check, struct journal *journal);

/* Begins a check from the present checkpoint to the present head. No read may be under way. */
void journal_check_start(struct journal_check *check);

/* One step. It uses the journal's buffer. */
enum journal_check_step journal_check_step(struct journal_check *check);

#endif
