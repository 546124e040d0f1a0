/* SPDX-License-Identifier: PostgreSQL */
/*
 * Whose ledger is it: the file `ledger.identity` in PGDATA, and what to do at a start with what is
 * found.
 *
 * The data directory lies outside PGDATA, so either can be copied, restored or lost without the
 * other. Both hold the same identity; if they differ, nothing is opened and nothing is overwritten.
 * Lines of text, the last one a checksum of those before:
 *
 *     version: 1
 *     cluster: 32 hex digits               the ledger
 *     incarnation: 32 hex digits           this node's life in it
 *     system_identifier: decimal           PostgreSQL's own, as pg_control has it
 *     replica: 0
 *     replica_count: 1
 *     checksum: 32 hex digits
 *
 * A new ledger is made so that a crash anywhere leaves something that the next start completes or
 * makes anew:
 *
 *     (1) <directory>.new with zeroed files, the superblock written last
 *     (2) ledger.identity, by rename
 *     (3) <directory>.new renamed to <directory>
 */
#ifndef LEDGER_PG_IDENTITY_H
#define LEDGER_PG_IDENTITY_H

#include "postgres.h"

#include "engine.h"
#include "pg/monitor_shared.h"

#define IDENTITY_FILE "ledger.identity"

enum identity_result {
    IDENTITY_PRESENT,
    IDENTITY_ABSENT,
    IDENTITY_DAMAGED,  /* Not what identity_write wrote. */
    IDENTITY_IO_ERROR, /* errno says which. */
};

enum identity_action {
    IDENTITY_CREATE,        /* Nothing there, or a creation that a crash stopped before (2). */
    IDENTITY_FINISH_RENAME, /* A crash stopped the creation between (2) and (3). */
    IDENTITY_OPEN,
    IDENTITY_REFUSE_MISSING, /* The data directory is gone. */
    IDENTITY_REFUSE_FOREIGN, /* There is a data directory, but this PGDATA never had one. */
};

/* Reads PGDATA/ledger.identity. */
enum identity_result identity_read(struct engine_identity *identity);

/* Writes it, durably. False with errno set. */
bool identity_write(const struct engine_identity *identity);

/* A new identity: random, but for the system identifier. False: there is no randomness. */
bool identity_make(struct engine_identity *identity);

enum identity_action
identity_decide(bool identity_present, bool directory_present, bool new_directory_present);

/* 32 hex digits and a terminating zero. */
#define IDENTITY_U128_TEXT_SIZE 33
void identity_u128_text(u128 value, char text[IDENTITY_U128_TEXT_SIZE]);

#endif
