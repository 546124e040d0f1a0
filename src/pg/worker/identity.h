/* SPDX-License-Identifier: PostgreSQL */
/*
 * Whose ledger is it: the file `ledger.identity` in PGDATA, and what to do at a start with what is
 * found.
 *
 * The data directory lies outside PGDATA, so either can be copied, restored or lost without the
 * other. Both hold the same identity; if they differ, nothing is opened and nothing is overwritten.
 * Lines of text, the last one a checksum of those before:
 *
 *     version: 2
 *     cluster: 32 hex digits               the ledger
 *     incarnation: 32 hex digits           its life with this PGDATA
 *     system_identifier: decimal           PostgreSQL's own, as pg_control has it
 *     replica: 0
 *     replica_count: 1
 *     view: decimal                        how many times it was opened; 0: never yet
 *     op: decimal                          how far it had come when this was noted
 *     timestamp: decimal                   of the newest op then, ns since 1970
 *     node: name                           only where ledger.node_name is set
 *     checksum: 32 hex digits
 *
 * The note (view, op, timestamp) is what tells a data directory that was restored from an old copy:
 * its log ends before the op that was noted. It is written when the engine opens, when it stops,
 * and each NOTE_INTERVAL_MS while there is work; so a directory is taken for the newest if it is
 * not older than that. A PGDATA that was restored shows in the view: the ledger was opened since.
 *
 * The node is the one that this PGDATA was last started as. A PGDATA that names another one is a
 * copy of that node's, as a streaming standby's is, and says nothing about this node's directory.
 * Nodes of a cluster note no newer view than the one that they were opened with: others change it
 * too, and it is in memory before it is durable. And while they fill the gap between their own log
 * and a newer one, they don't note what they have in the gap (replica_kept).
 *
 * A new ledger is made so that a crash anywhere leaves nothing, or something that the next start
 * completes:
 *
 *     (1) <directory>.new with zeroed files, the superblock written last
 *     (2) ledger.identity, by rename             from here on there is a ledger
 *     (3) <directory>.new renamed to <directory>
 *
 * A crash before (2) leaves no ledger; what lies in <directory>.new was never used, and goes when
 * one is made. A crash before (3) is completed by the next start: somebody has asked for this
 * ledger, and it was never opened, so nothing can be in it.
 *
 * A ledger is adopted (another PGDATA's directory becomes this one's) in this order:
 *
 *     (1) the superblock takes a new incarnation and this cluster's system identifier
 *     (2) ledger.identity, by rename
 *
 * Both happen under the locks of the directory. (1) is one update of the superblock: a crash in it
 * leaves the old owner or the new one. From its end on, the PGDATA that had the directory before
 * does not match it any more, so there is no moment at which two could open it. A crash between (1)
 * and (2) leaves a directory that matches no PGDATA: it is refused, and adopting it again, by this
 * server or the old one, makes yet another incarnation. The other order would be as safe for the
 * ledger, but would have overwritten the only file that says which ledger this PGDATA had before it
 * is certain that it gets another.
 */
#ifndef LEDGER_PG_WORKER_IDENTITY_H
#define LEDGER_PG_WORKER_IDENTITY_H

#include "postgres.h"

#include "engine/engine.h"
#include "pg/monitor_shared.h"

#define IDENTITY_FILE    "ledger.identity"
#define IDENTITY_VERSION 2

/* How old the note may be while there is work. */
#define NOTE_INTERVAL_MS 5000

struct identity {
    struct engine_identity owner;
    uint64 view;
    uint64 op;
    uint64 timestamp;
    char node[32]; /* Empty if it is none. */
};

enum identity_result {
    IDENTITY_PRESENT,
    IDENTITY_ABSENT,
    IDENTITY_DAMAGED,       /* The file isn't as identity_write wrote it. */
    IDENTITY_OTHER_VERSION, /* Another version of ledger wrote the file. */
    IDENTITY_IO_ERROR,      /* errno says which error. */
};

enum identity_action {
    IDENTITY_NONE,          /* There is nothing: no ledger, until somebody asks for one. */
    IDENTITY_FINISH_RENAME, /* A crash has stopped a creation between (2) and (3). */
    IDENTITY_OPEN,
    IDENTITY_REFUSE_MISSING, /* The data directory is missing. */
    IDENTITY_REFUSE_FOREIGN, /* There is a data directory, but this PGDATA never had one. */
};

/* Reads PGDATA/ledger.identity. */
enum identity_result identity_read(struct identity *identity);

/* Writes it, durably. False with errno set. */
bool identity_write(const struct identity *identity);

/*
 * Writes the text that stands for the identity, and returns its size. There is only one such text.
 */
#define IDENTITY_TEXT_MAX 512
int identity_text(const struct identity *identity, char text[IDENTITY_TEXT_MAX]);

/*
 * Makes the identity of a new ledger: random, except for the system identifier. Returns false if
 * the system gives no random numbers.
 */
bool identity_make(struct identity *identity);

/*
 * Makes the identity of another life of a ledger, with this PGDATA. Returns false if the system
 * gives no random numbers.
 */
bool identity_make_incarnation(
    const struct engine_identity *before, struct engine_identity *identity);

/* This node's PGDATA is a copy of another node's. */
bool identity_is_of_another_node(const struct identity *identity);

/* The number of replicas changes without the owner's doing, and isn't compared. */
bool identity_owner_equal(const struct engine_identity *a, const struct engine_identity *b);

/* `identity` is NULL if there is no file. */
enum identity_action identity_decide(
    const struct identity *identity, bool directory_present, bool new_directory_present);

/* The value as columns of type uuid show it, with a terminating zero. */
#define IDENTITY_UUID_TEXT_SIZE 37
void identity_uuid_text(u128 value, char text[IDENTITY_UUID_TEXT_SIZE]);

#endif
