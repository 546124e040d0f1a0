/* SPDX-License-Identifier: PostgreSQL */
/*
 * The engine's façade: the only core header that the Postgres glue and the tools include.
 *
 *      engine_format      makes a new ledger of new files             (waits)
 *      engine_inspect     says whose files these are                  (waits)
 *      engine_adopt       gives them to another owner                 (waits)
 *      engine_create      takes all memory
 *      engine_open        superblock, checkpoint, journal, replay     (waits)
 *      engine_submit      lends a request to the engine
 *      engine_poll        runs completions, forms prepares, commits, answers
 *      engine_tick        to be called every ENGINE_TICK_MS or so
 *      engine_scrub       says how fast all blocks are to be checked in the background
 *
 * One thread calls everything. A request's callback runs inside engine_poll, or inside engine_tick
 * if that finds that the engine must stop, or that the request has waited long enough; never inside
 * engine_submit. A create is answered when its prepare is durable and executed. A read is answered
 * from what is committed. All of it shows one moment: one between submit and answer, or an older
 * one that the read names, that of an earlier page.
 *
 * What can go wrong: a request is refused and had no effect (ENGINE_INVALID, _MEMORY_FULL,
 * _DISK_FULL); it has waited long enough for a primary, or for room (ENGINE_NO_QUORUM, _UNKNOWN); a
 * read meets a damaged block (ENGINE_DAMAGED, and everything else goes on); a write fails or an op
 * meets a damaged block (engine_failed: the host must stop, and open again).
 */
#ifndef LEDGER_ENGINE_ENGINE_H
#define LEDGER_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/histogram.h"
#include "base/queue.h"
#include "base/u128.h"
#include "io/clock.h"
#include "io/network.h"
#include "io/storage.h"
#include "ledger/ledger.h"
#include "store/journal.h"
#include "store/members.h"
#include "vsr/replica.h"
#include "vsr/request.h"

#define ENGINE_TICK_MS 10

/*
 * Which ledger the data directory holds, and whose it is. The host keeps a copy elsewhere, to
 * compare.
 */
struct engine_identity {
    u128 cluster;
    u128 incarnation;
    uint64_t system_identifier;
    uint8_t replica;
    uint8_t replica_count;
};

struct engine_options {
    /* All memory that the engine may take: at least engine_memory_bytes_min(). */
    uint64_t memory_bytes;
    uint64_t prepares_size_bytes; /* Size of the prepares log, which must be the file's. */
    uint64_t grid_size_bytes;     /* Size of the grid's file. */
    uint32_t requests_max;        /* The most requests that are lent at the same time. */
    enum journal_sync wal_sync;   /* What an answer waits for: see doc/wal_order.md. */
    /*
     * How far the ledger is known to have come. Files that haven't come so far are an older copy of
     * it.
     */
    uint64_t op_min;
    uint64_t view_min;
    /* A random number other than 0, drawn for this opening alone: it tells lives apart. */
    uint64_t session;
    /* To the other members, and to guests. NULL: the ledger is alone, and stays so. */
    struct network *network;
    /* After which a primary that isn't heard is replaced. 0: one second. */
    uint64_t failover_timeout_ns;
    /*
     * Another random number like that, by which a member's directory is told from copies of it
     * (vsr/fences.h). 0: it isn't, which is for tests alone.
     */
    uint64_t fence_seed;
};

/* ---- Requests -------------------------------------------------------------------------------- */

enum engine_status {
    ENGINE_OK,
    ENGINE_INVALID,     /* The input is malformed, and `detail` says how. Nothing happened. */
    ENGINE_MEMORY_FULL, /* Nothing happened. */
    ENGINE_DISK_FULL,   /* Nothing happened. */
    ENGINE_FAILED,      /* The engine has stopped working (I/O error). The outcome is unknown. */
    /* A block that this read needs can't be read; `damage` says which. Other requests go on. */
    ENGINE_DAMAGED,
    ENGINE_BUSY,        /* Only one request of this kind may run, and one is running. */
    /*
     * It has waited for wait_ns, and no primary works, or what is committed waits here for room:
     * nothing happened, and nothing will.
     */
    ENGINE_NO_QUORUM,
    /* Likewise; but the create had left, so it may happen, or have happened. Nobody is told. */
    ENGINE_UNKNOWN,
};

/* A block of the grid that can't be read, or that isn't what was written. */
struct engine_damage {
    uint64_t block_address;
    const char *tree_name; /* NULL if it isn't known. */
    bool io_error;         /* The disk reported an error. Otherwise the content is wrong. */
};

struct engine;
struct engine_request;
typedef void engine_callback(struct engine_request *request);

/* Owned by the caller, lent to the engine from submit to callback, with both buffers. */
struct engine_request {
    uint8_t operation; /* enum ledger_operation */
    const void *input; /* Events, ids, or one filter. The caller must not change it meanwhile. */
    uint32_t input_size;
    void *reply; /* Must not overlap the input. For creates: RESULT_SIZE bytes for each event. */
    uint32_t reply_size_max;
    engine_callback *callback;

    /*
     * For reads: the state to read. If it isn't `known`, the present state is read, and filled in
     * here.
     */
    struct ledger_instant instant;
    /* For reads: this node's state will do, even if it is behind that of others. */
    bool local;
    /*
     * For creates, and reads that aren't local: how long to wait, from submit on, while no primary
     * works. 0: for ever. Where one works, a request waits as long as it takes.
     */
    uint64_t wait_ns;

    /* Filled in before the callback. */
    enum engine_status status;
    uint32_t reply_size;
    const char *detail; /* For ENGINE_INVALID. */
    struct engine_damage damage; /* For ENGINE_DAMAGED. */

    /* Owned by the engine. */
    struct engine *engine;
    struct queue_link link;
    struct replica_request create;
    uint64_t read_number; /* Under which the replica says whether the read may begin. */
    uint64_t submitted_ns;
};

/* ---- Opening --------------------------------------------------------------------------------- */

enum engine_open_result {
    ENGINE_OPENED,
    ENGINE_OPEN_ABSENT,          /* The superblock was never written: not formatted. */
    ENGINE_OPEN_SUPERBLOCK,      /* superblock_name says what is wrong with it. */
    ENGINE_OPEN_OTHER_VERSION,   /* It is intact, but has another disk format than this build. */
    ENGINE_OPEN_OTHER_CONFIG,    /* It is intact, but was made by a build with other limits. */
    /* It is intact, but not the expected identity; `identity` is the one found. */
    ENGINE_OPEN_OTHER_IDENTITY,
    ENGINE_OPEN_SIZE_MISMATCH,   /* A log's file doesn't have the size that the superblock says. */
    ENGINE_OPEN_JOURNAL_DAMAGED, /* An acknowledged entry is damaged: `journal` says which. */
    ENGINE_OPEN_JOURNAL_SHORT,   /* The log ends at `op`, although more was committed. */
    /* Prepare `op` is intact, but not of the log that the superblock knows: one is an old copy. */
    ENGINE_OPEN_OTHER_LOG,
    /* It is whole up to `op`, but op_min or view_min say that it had come further. */
    ENGINE_OPEN_BEHIND,
    ENGINE_OPEN_GRID_CORRUPT, /* Block `block_address` of tree `tree_name` is damaged. */
    ENGINE_OPEN_MEMORY_TOO_SMALL, /* At least memory_bytes_needed bytes are needed. */
    ENGINE_OPEN_DISK_FULL,
    /* Prepare `op` is intact, but this version doesn't make such prepares. */
    ENGINE_OPEN_INVALID_PREPARE,
    ENGINE_OPEN_IO_ERROR,
    /* It is a member of a cluster, which can do nothing without a network. */
    ENGINE_OPEN_CLUSTER,
    /* It is an older copy of a member's directory, or ran beside it; and is over for ever. */
    ENGINE_OPEN_OVER,
};

struct engine_open_report {
    const char *superblock_name;
    struct engine_identity identity;
    struct journal_report journal;
    uint64_t block_address;
    const char *tree_name;
    uint64_t memory_bytes_needed;
    uint32_t superblock_copies_repaired;
    uint64_t op; /* The op that was reached. */
    uint64_t ops_replayed;
};

/* The least memory_bytes, whatever options->memory_bytes is. */
uint64_t engine_memory_bytes_min(const struct engine_options *options);

/*
 * Writes the superblock of a new, empty ledger over zeroed files. Only its last write makes the
 * ledger exist. `members` are all members that it begins with; every one of them is formatted with
 * the same table. identity->replica is this node's slot among them. NULL: the ledger is alone.
 */
enum engine_open_result engine_format(
    struct storage *storage,
    uint64_t prepares_size_bytes,
    const struct engine_identity *identity,
    const struct members *members,
    void *scratch); /* ENGINE_FORMAT_SCRATCH bytes, sector aligned, zeroed. */
#define ENGINE_FORMAT_SCRATCH (UINT64_C(64) * KIB)

/*
 * The same for a node that was let into a cluster (engine_guest_poll): `name` is its own, and
 * root_incarnation is of the member that the ledger began with.
 */
enum engine_open_result engine_format_member(
    struct storage *storage,
    uint64_t prepares_size_bytes,
    const struct engine_identity *identity,
    const char *name,
    u128 root_incarnation,
    void *scratch);

/* What the superblock says. The log may have come further. */
struct engine_inspection {
    struct engine_identity identity;
    const char *superblock_name; /* For ENGINE_OPEN_SUPERBLOCK: what is wrong. */
    uint64_t commit_op;          /* The ledger came at least to this op. */
    uint64_t checkpoint_timestamp;
    uint32_t view; /* How many times the ledger was opened. */
    bool is_cluster; /* It is a member of a cluster, */
    char node_name[MEMBER_NAME_MAX + 1]; /* of this name. */
};

/*
 * Reads the superblock and writes nothing. The result is ENGINE_OPENED, or what is wrong with the
 * superblock: ENGINE_OPEN_ABSENT, ENGINE_OPEN_SUPERBLOCK, ENGINE_OPEN_OTHER_VERSION or
 * ENGINE_OPEN_OTHER_CONFIG. `scratch` is as for engine_format.
 */
enum engine_open_result engine_inspect(
    struct storage *storage,
    void *scratch,
    struct engine_inspection *inspection);

/*
 * Makes the ledger that was just inspected belong to `owner`, whose cluster must be the same and
 * whose incarnation must be another. It repairs the superblock first. After ENGINE_OPEN_IO_ERROR or
 * a crash, the ledger belongs either to the old owner or to the new one.
 */
enum engine_open_result engine_adopt(
    struct storage *storage,
    void *scratch,
    const struct engine_identity *owner);

/*
 * Makes an engine from options->memory_bytes zeroed bytes at `memory` (aligned to ARENA_ALIGNMENT).
 */
struct engine *engine_create(
    void *memory,
    const struct engine_options *options,
    struct storage *storage,
    struct clock *clock);

enum engine_open_result engine_open(
    struct engine *engine,
    const struct engine_identity *expected,
    struct engine_open_report *report);

/* ---- Working --------------------------------------------------------------------------------- */

void engine_submit(struct engine *engine, struct engine_request *request);

/*
 * Does what can be done now. Returns true if something was done; then there may be more, and the
 * host polls again before it sleeps. It never blocks, except for the write of a small prepare while
 * there is nothing else to do, if that is how storage does it fastest.
 */
bool engine_poll(struct engine *engine);

/* Does what depends on time: releases expired holds, lets the scrubber go on, ends waits. */
void engine_tick(struct engine *engine);

/*
 * This node gives up being the primary, so that another takes over at once; to be called before a
 * shutdown. Requests go on there. Polling goes on until engine_cluster_get tells of a primary in a
 * newer view, for a bounded time: that another begins one isn't certain. False: it isn't the
 * primary, or nobody could take over.
 */
bool engine_resign(struct engine *engine);

/*
 * From now on, all live blocks are read and verified in the background, each once in the interval.
 * 0 means none. Before the first call there is no scrubbing.
 */
void engine_scrub(struct engine *engine, uint64_t interval_ns);

/*
 * Gives up a running LEDGER_VERIFY, which may take long: it is answered at once, inside this call.
 * This works only after engine_poll has taken the request. Returns false if the request isn't a
 * running verification; any other request ends by itself.
 */
bool engine_cancel(struct engine *engine, struct engine_request *request);

/*
 * Gives a damaged block that scrubbing has found; each is given once. Returns false if there is
 * none.
 */
bool engine_scrub_damage(struct engine *engine, struct engine_damage *damage);

/*
 * True while requests or writes are running: then the host should wait for storage, not only for
 * new requests.
 */
bool engine_busy(const struct engine *engine);

/*
 * The prepare that is being written; 0: none is. When the write has ended, well or not, storage has
 * something to do.
 */
uint64_t engine_writing_op(const struct engine *engine);

/*
 * A prepare is being written, and creates that are submitted meanwhile can only wait for its end.
 * At a backup they can't: they go to the primary at once.
 */
bool engine_creates_wait(const struct engine *engine);

/*
 * A write failed, or an op needs a block that can't be read. Every request is answered by
 * ENGINE_FAILED. The host must stop, and open again.
 */
bool engine_failed(const struct engine *engine);

/* True if the engine has failed because of a damaged block; *damage says which. */
bool engine_failed_on_damage(const struct engine *engine, struct engine_damage *damage);

/*
 * True if the engine has failed because its newest checkpoint, of *op, isn't the one that the
 * primary has of that op. Both have executed the same log, so one of them has gone wrong.
 */
bool engine_failed_on_divergence(const struct engine *engine, uint64_t *op);

/*
 * True if the engine has failed because others know a newer state of this directory, or have seen a
 * copy of it: it is over, and its superblock says so.
 */
bool engine_failed_as_copy(const struct engine *engine);

/*
 * True while expired holds aren't released, because a block that this needs is damaged; *damage
 * says which. Everything else goes on, and it is tried again every ten seconds.
 */
bool engine_pulse_damage(const struct engine *engine, struct engine_damage *damage);

/* ---- The cluster ----------------------------------------------------------------------------- */

/* A change of members (an op of the log), asked for at the primary. */
enum engine_change_kind {
    ENGINE_CHANGE_CREATE, /* The lone ledger becomes a cluster of one; `name` is this node's. */
    /*
     * The guest of that name becomes a member: a standby first, a voter by itself once it has
     * caught up.
     */
    ENGINE_CHANGE_ADD,
    ENGINE_CHANGE_REMOVE,
    ENGINE_CHANGE_STEP_DOWN, /* This primary gives up its view. No name. */
};

enum engine_change_result {
    ENGINE_CHANGE_DONE,
    ENGINE_CHANGE_NOT_PRIMARY,
    ENGINE_CHANGE_BUSY,        /* Another change is under way. */
    ENGINE_CHANGE_EXISTS,      /* It is a member already; or this is a cluster already. */
    ENGINE_CHANGE_UNKNOWN,     /* No such member; or no such guest is connected. */
    ENGINE_CHANGE_FULL,        /* There are MEMBERS_MAX members, or VOTERS_MAX voters. */
    ENGINE_CHANGE_LOG,         /* The log doesn't reach back to the ledger's beginning. */
    ENGINE_CHANGE_LAST,        /* There is nobody to step down for. */
    ENGINE_CHANGE_SELF,        /* The primary doesn't remove itself: it steps down first. */
    ENGINE_CHANGE_NOT_CLUSTER, /* ENGINE_CHANGE_CREATE comes first. */
    ENGINE_CHANGE_NO_ROOM,     /* Memory or disk are full. */
    ENGINE_CHANGE_FAILED,      /* The outcome is unknown. */
};

/* Owned by the caller, lent to the engine until the callback, which runs inside engine_poll. */
struct engine_change {
    uint8_t kind;  /* enum engine_change_kind */
    char name[MEMBER_NAME_MAX + 1];
    void (*callback)(struct engine_change *change);
    void *context; /* The caller's. */
    enum engine_change_result result;
    struct replica_wish wish; /* The engine's. */
};

/* With a network only. */
void engine_change_members(struct engine *engine, struct engine_change *change);

/*
 * Nobody waits for the change any more: it may happen or not. Returns false if it has been
 * answered.
 */
bool engine_change_cancel(struct engine *engine, struct engine_change *change);

enum engine_member_state {
    ENGINE_MEMBER_PRIMARY,
    ENGINE_MEMBER_BACKUP,
    ENGINE_MEMBER_VIEW_CHANGE,
    ENGINE_MEMBER_CATCHING_UP,
    ENGINE_MEMBER_NO_ROOM, /* What is committed waits there for room on disk, or in memory. */
    ENGINE_MEMBER_UNREACHABLE,
    /* A server with its name is a guest: its directory is gone, and with it this member. */
    ENGINE_MEMBER_LOST,
    ENGINE_MEMBER_REFUSED, /* What has come as this member is an older directory, or a copy. */
    ENGINE_MEMBER_GUEST, /* It is no member, and waits to be added. */
};

struct engine_member {
    char name[MEMBER_NAME_MAX + 1];
    uint8_t slot; /* MEMBERS_MAX: a guest. */
    uint8_t role; /* enum member_role */
    uint8_t state; /* enum engine_member_state, as far as this node knows. */
    bool self;
    uint32_t view;
    uint64_t op;       /* What is durable there, as far as this node knows. */
    uint64_t heard_ns; /* How long ago something came from there; UINT64_MAX: never. */
};

/* Is it known what the node does? */
static inline bool
engine_member_answers(const struct engine_member *member)
{
    switch (member->state) {
    case ENGINE_MEMBER_UNREACHABLE:
    case ENGINE_MEMBER_LOST:
    case ENGINE_MEMBER_REFUSED: return false;
    default: return true;
    }
}

struct engine_cluster {
    u128 cluster;
    uint64_t op;
    uint64_t commit;
    uint32_t view;
    uint32_t count;     /* Of `members`. */
    uint32_t voters;    /* How many there are, */
    uint32_t reachable; /* and how many of them this node can reach, itself included. */
    int32_t primary;    /* Its place in `members`; −1: there is none, as far as this node knows. */
    bool is_cluster;
    struct engine_member members[MEMBERS_MAX + NETWORK_PEERS_MAX];
};

void engine_cluster_get(const struct engine *engine, struct engine_cluster *cluster);

/* A node without a ledger, which waits to be added (vsr/guest.h). */
struct engine_guest;

struct engine_guest_options {
    struct network *network; /* Its callbacks are the guest's until it is closed. */
    u128 incarnation;        /* A random number other than 0: of the member that it may become. */
    uint64_t session;        /* A random number other than 0. */
    uint64_t prepares_size_bytes;
    void *memory; /* ENGINE_GUEST_MEMORY zeroed bytes, aligned to ARENA_ALIGNMENT. */
};
#define ENGINE_GUEST_MEMORY (UINT64_C(8) * MIB)

struct engine_welcome {
    struct engine_identity identity; /* But for system_identifier, which is the host's. */
    u128 root_incarnation;           /* For engine_format_member. */
};

struct engine_guest *engine_guest_create(const struct engine_guest_options *options);

/* Lets the network work. Returns true once the node was let in. */
bool engine_guest_poll(struct engine_guest *guest, struct engine_welcome *welcome);

/* The name of a connected node that has a ledger already, or NULL. Valid until the next poll. */
const char *engine_guest_member(const struct engine_guest *guest);

/* ---- Monitoring ------------------------------------------------------------------------------ */

/* Room for the codes of create results. The last entry counts `created`. */
#define ENGINE_STATUS_CODES_MAX 80

struct engine_state {
    uint64_t op;
    uint64_t commit;
    uint64_t kept_op; /* A later start finds at least this one, or its files are older: op_min. */
    uint64_t checkpoint_op;
    uint64_t timestamp; /* Timestamp of the newest prepare, in nanoseconds. */
    uint64_t wal_used_bytes;
    uint64_t wal_size_bytes;
    uint64_t grid_size_bytes;
    uint64_t grid_used_bytes;
    uint64_t memory_used_bytes; /* Memory in use that couldn't be given up at once. */
    uint64_t memory_bytes;
    uint64_t cache_size_bytes; /* Size of the block cache. */
    uint64_t tables;
    /* At about this number of tables, events are refused: ENGINE_MEMORY_FULL. */
    uint64_t tables_max;
    uint64_t accounts;
    uint64_t transfers;
    uint64_t scrub_tours; /* Number of tours that the scrubber has completed since the start. */
    uint64_t scrub_tour_blocks;  /* Number of blocks that the current tour has read. */
    uint64_t scrub_blocks_total; /* Number of live blocks. */
    /*
     * Blocks that a tour found damaged and that the last tour still met, and blocks that pulses
     * can't read.
     */
    uint64_t damaged_blocks;
    uint32_t view;
    uint8_t replica;
    uint8_t replica_count;
    bool failed;
};

struct engine_stats {
    uint64_t requests;
    /* Refused because memory or disk is full, or because the request is malformed. */
    uint64_t requests_refused;
    uint64_t reads;
    uint64_t prepares;
    uint64_t pulses;
    uint64_t pulses_skipped; /* Pulses that were due but not made, because of a damaged block. */
    uint64_t account_events[ENGINE_STATUS_CODES_MAX];  /* By status. */
    uint64_t transfer_events[ENGINE_STATUS_CODES_MAX]; /* By status. */
    struct histogram events_per_prepare;
    struct histogram requests_per_prepare;
    struct histogram commit_latency_ns; /* From the submission of a create to its answer. */
    uint64_t checkpoints;
    uint64_t blocks_written;
    uint64_t blocks_read; /* Blocks that were read, whole or in part. */
    uint64_t extracts_read; /* How many of these were read in part. */
    uint64_t cache_hits; /* Times that a block was in memory when it was asked for. */
    uint64_t cache_misses;
    uint64_t cache_evictions;
    struct journal_stats journal;
    struct storage_solo_stats solo_writes;
};

void engine_state_get(const struct engine *engine, struct engine_state *state);
void engine_stats_get(const struct engine *engine, struct engine_stats *stats);

#endif
