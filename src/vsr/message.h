/* SPDX-License-Identifier: PostgreSQL */
/*
 * What members of a cluster send each other: a frame, which is a header of 128 bytes, and a body.
 *
 *   off size field               off size field
 *     0  16  checksum             64   8  op
 *    16  16  checksum_body        72   8  commit
 *    32  16  cluster              80   8  round
 *    48   4  size                 88   8  checkpoint_op
 *    52   4  view                 96  32  by command
 *    56   1  command
 *    57   1  version
 *    58   1  sender
 *    59   1  flags
 *    60   4  reserved (zero)
 *
 * `checksum` covers the rest of the header, and through checksum_body the body, so that a header
 * can be trusted, and a buffer chosen for what follows, before the body is there. A prepare has
 * sums of its own; its frame has no second one over the same bytes. Sums are against damage, not
 * against people: who may connect at all is decided by the transport.
 *
 * A frame is *valid* if everything about it that doesn't depend on the receiver's state is right:
 * sums, sizes, unused fields zero, lists within their bounds, the prepares and headers in it valid
 * by themselves. What a valid message means, and whether it is still of interest, is the replica's
 * to judge.
 */
#ifndef LEDGER_VSR_MESSAGE_H
#define LEDGER_VSR_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/u128.h"
#include "config.h"
#include "store/members.h"
#include "store/prepare.h"
#include "store/superblock.h"

#define MESSAGE_HEADER_SIZE 128

/* The protocol of this build. A connection uses the highest that both ends know. */
#define MESSAGE_VERSION_MIN 1
#define MESSAGE_VERSION_MAX 1

/* The sender of who is no member (yet). */
#define MESSAGE_SENDER_GUEST UINT8_MAX

/* A node's name with the zero that ends it. */
#define MESSAGE_NAME_SIZE (MEMBER_NAME_MAX + 1)

#define MESSAGE_BLOCKS_MAX 16

#define MESSAGE_SIZE_MAX (MESSAGE_HEADER_SIZE + PREPARE_SIZE_MAX)

enum message_command {
    MESSAGE_RESERVED = 0, /* Never valid: zeroed memory is no message. */
    MESSAGE_HELLO = 1,
    MESSAGE_BYE = 2,
    MESSAGE_REQUEST = 3,
    MESSAGE_REFUSE = 4,
    MESSAGE_PREPARE = 5,
    MESSAGE_PREPARE_OK = 6,
    MESSAGE_COMMIT = 7,
    MESSAGE_SUSPECT = 8,
    MESSAGE_DO_VIEW_CHANGE = 9,
    MESSAGE_START_VIEW = 10,
    MESSAGE_GET_VIEW = 11,
    MESSAGE_GET_PREPARES = 12,
    MESSAGE_GET_PREPARE = 13,
    MESSAGE_ABSENT = 14,
    MESSAGE_GET_BLOCKS = 15,
    MESSAGE_BLOCK = 16,
    MESSAGE_GET_CHECKPOINT = 17,
    MESSAGE_CHECKPOINT = 18,
    MESSAGE_READ_INDEX = 19,
    MESSAGE_READ_OK = 20,
    MESSAGE_NODE_RECORD = 21,
    MESSAGE_WISH = 22,
    MESSAGE_WISH_ANSWER = 23,
};
#define MESSAGE_COMMAND_COUNT 24

enum message_flag {
    MESSAGE_UNCERTAIN = 1 << 0,    /* hello, do_view_change: the log may have had more. */
    MESSAGE_SYNCING = 1 << 1,      /* hello, do_view_change: the state isn't complete. */
    MESSAGE_HOLED = 1 << 2,        /* hello: something of the log is damaged. */
    MESSAGE_REPAIR = 1 << 3,       /* prepare: an answer, not part of the stream. */
    MESSAGE_RESIGN = 1 << 4,       /* suspect: the primary itself asks for the view `view_next`. */
    MESSAGE_NOT_PRIMARY = 1 << 5,  /* refuse: a hint, which refuses nothing. */
    MESSAGE_COMMIT_KNOWN = 1 << 6, /* do_view_change: commit_checksum is known. */
    MESSAGE_FOREVER = 1 << 7,      /* bye: dialling again is of no use. */
};

enum message_refusal { MESSAGE_REFUSE_MEMORY = 1, MESSAGE_REFUSE_DISK = 2 };

/* Why a connection ends. */
enum message_bye_reason {
    MESSAGE_BYE_SHUTDOWN = 1,
    MESSAGE_BYE_PROTOCOL,    /* No protocol version in common. */
    MESSAGE_BYE_CLUSTER,     /* Of another cluster. */
    MESSAGE_BYE_FINGERPRINT, /* A build that writes other bytes. */
    MESSAGE_BYE_RING,        /* A prepares log of another size. */
    MESSAGE_BYE_NAME,        /* A name that isn't in the list of nodes. */
    MESSAGE_BYE_SELF,        /* The receiver's own name. */
    MESSAGE_BYE_CONNECTED,   /* There is another connection already. */
    MESSAGE_BYE_INCARNATION, /* Not the directory that the cluster knows, or an older copy. */
    MESSAGE_BYE_REMOVED,     /* No longer a member. */
    MESSAGE_BYE_FENCE,       /* An older copy of the node's directory, or a copy beside it. */
};
#define MESSAGE_BYE_REASON_COUNT 12

/* ---- Fields by command ----------------------------------------------------------------------- */

/* Of request and refuse: the consecutive numbers of requests within a session of a node. */
struct message_numbers {
    uint64_t session;
    uint64_t number; /* The first. */
    uint32_t count;
    uint8_t reason; /* enum message_refusal, in a refuse that isn't a hint. */
    uint8_t reserved[11];
};

struct message_prepare_ok {
    u128 checksum; /* Of the prepare `op`. */
    u128 checkpoint_id;
};

/* Of commit (the checksum of the op `commit`) and get_prepare (of the op `op`). */
struct message_checksum {
    u128 checksum;
    uint8_t reserved[16];
};

struct message_suspect {
    uint32_t view_next; /* With MESSAGE_RESIGN; otherwise 0. */
    uint8_t reserved[28];
};

/* Bit i of the two masks is about entry i of the suffix. */
struct message_do_view_change {
    uint64_t chain_op; /* The end of the unbroken chain. */
    uint64_t members_op;
    uint32_t log_view;
    uint16_t present;
    uint16_t nacks;
    uint8_t suffix_count;
    uint8_t reserved[7];
};

struct message_start_view {
    uint64_t nonce; /* Of the get_view that this answers; otherwise 0. */
    uint64_t op_oldest;
    uint8_t suffix_count;
    uint8_t reserved[15];
};

struct message_get_view {
    uint64_t nonce;
    uint8_t reserved[24];
};

struct message_get_prepares {
    uint64_t bytes_wanted;
    uint8_t entry_count;
    uint8_t reserved[23];
};

struct message_absent {
    u128 checksum;      /* Of what was asked for; `op` is its op, or a block's address. */
    uint64_t op_oldest;
    uint8_t asked;      /* The command of the question. */
    uint8_t reserved[7];
};

struct message_get_blocks {
    uint8_t block_count;
    uint8_t reserved[31];
};

/* Of a block: what it was asked as. */
struct message_block {
    struct block_reference reference;
};

/* Of a checkpoint. */
struct message_receiver {
    uint8_t slot; /* Of who is told, among the members. */
    uint8_t reserved[31];
};

/* Of a wish: a node of this name is to be added, or a member to be removed. `round` numbers it. */
struct message_wish {
    char name[MEMBER_NAME_MAX];
    uint8_t adds; /* 1: add, 0: remove. */
};

struct message_wish_answer {
    uint8_t outcome; /* enum replica_wish_outcome (vsr/replica.h) */
    uint8_t reserved[31];
};

/* Of read_index and read_ok. */
struct message_read {
    uint64_t number;
    uint8_t reserved[24];
};

struct message_header {
    u128 checksum;
    u128 checksum_body;
    u128 cluster;
    uint32_t size; /* Bytes of header and body. */
    uint32_t view;
    uint8_t command;
    uint8_t version;
    uint8_t sender; /* The member's number, or MESSAGE_SENDER_GUEST. */
    uint8_t flags;
    uint32_t reserved;
    uint64_t op;
    uint64_t commit;
    uint64_t round;
    uint64_t checkpoint_op;
    union {
        uint8_t bytes[32];
        struct message_numbers numbers;
        struct message_prepare_ok prepare_ok;
        struct message_checksum checksum;
        struct message_suspect suspect;
        struct message_do_view_change do_view_change;
        struct message_start_view start_view;
        struct message_get_view get_view;
        struct message_get_prepares get_prepares;
        struct message_absent absent;
        struct message_get_blocks get_blocks;
        struct message_block block;
        struct message_read read;
        struct message_receiver receiver;
        struct message_wish wish;
        struct message_wish_answer wish_answer;
    } as;
};
static_assert(sizeof(struct message_header) == MESSAGE_HEADER_SIZE, "on the wire");
static_assert(offsetof(struct message_header, op) == 64, "no padding");
static_assert(offsetof(struct message_header, as) == 96, "no padding");

/* ---- Bodies ---------------------------------------------------------------------------------- */

/* Said once, at the start of a connection: who I am, and how far I have come. */
struct message_hello {
    u128 incarnation;
    uint64_t session;
    uint64_t fingerprint; /* Of everything that decides bytes. */
    uint64_t prepares_size_bytes;
    uint64_t fence;
    uint64_t fence_next;
    uint64_t record_op;
    uint32_t log_view;
    uint8_t version_min;
    uint8_t version_max;
    uint8_t reserved_versions[10];
    char name[MESSAGE_NAME_SIZE];
    uint64_t acked_op; /* See struct fence_claim (vsr/fences.h), as the fences above. */
    uint8_t reserved[136];
};
static_assert(sizeof(struct message_hello) == 256, "on the wire");

/* The last message of a connection. */
struct message_bye {
    struct superblock_heard known; /* What MESSAGE_BYE_FENCE rests on. */
    uint8_t reason; /* enum message_bye_reason */
    uint8_t reserved[223];
};
static_assert(sizeof(struct message_bye) == 256, "on the wire");

/* Four numbers let either end measure the other's clock, whoever sent first. */
struct message_clock {
    uint64_t probe_ns;    /* The sender's monotonic clock. */
    uint64_t echo_ns;     /* The newest probe of the receiver; 0: none yet. */
    uint64_t kept_ns;     /* How long ago it came. */
    uint64_t realtime_ns; /* The sender's real-time clock. */
};

struct message_prepare_ok_body {
    struct message_clock clock;
    uint64_t room; /* Events that fit. */
    uint64_t reserved;
};

/* Followed by suffix_count headers: those up to `op`, ascending; zero where it isn't known. */
struct message_do_view_change_body {
    u128 commit_checksum;
};

/* Followed by suffix_count headers of the chain, the last one that of `op`. */
struct message_start_view_body {
    u128 commit_checksum;
    u128 checkpoint_id;
    struct members members;
};

/* Of get_prepares: what the asker has, newest first. */
struct message_entry {
    u128 checksum;
    uint64_t op;
    uint64_t reserved;
};

struct message_checkpoint {
    struct checkpoint_state checkpoint;
    struct members members;
    struct prepare_header anchor; /* A header that the asker's chain must reach. */
};

struct message_node_record {
    u128 incarnation;
    uint64_t fence;
    uint64_t fence_next;
    uint64_t session;
    uint64_t reserved[3];
};
static_assert(sizeof(struct message_prepare_ok_body) == 48, "on the wire");
static_assert(sizeof(struct message_start_view_body) == 800, "on the wire");
static_assert(sizeof(struct message_entry) == 32, "on the wire");
static_assert(sizeof(struct message_checkpoint) == 1408, "on the wire");
static_assert(sizeof(struct message_node_record) == 64, "on the wire");

/* ---- What can be done with them -------------------------------------------------------------- */

static inline void *
message_body(struct message_header *header)
{
    return (uint8_t *) header + MESSAGE_HEADER_SIZE;
}

static inline const void *
message_body_const(const struct message_header *header)
{
    return (const uint8_t *) header + MESSAGE_HEADER_SIZE;
}

/* "do_view_change"; "unknown" if there is no such command. */
const char *message_command_name(uint8_t command);

/* A sentence for people about a reason of a `bye`. */
const char *message_bye_text(uint8_t reason);

/* What people can do about it: how such a sentence may go on. */
const char *message_bye_hint(uint8_t reason);

/* Is it 1 … 31 of [a-z0-9_-], and zero from there on? */
bool message_name_valid(const char name[MESSAGE_NAME_SIZE]);

/*
 * Fills in the version, checksum_body, then checksum. The body is in its place, and of valid size.
 */
void message_seal(struct message_header *header, uint8_t version);

/*
 * Looks at a header alone: its sum, command, size and fields. A message that says hello or bye may
 * be of any version, since it is there to find a common one.
 */
bool message_header_valid(const struct message_header *header);

/* After message_header_valid: the body is what the header and its command ask for. */
bool message_body_valid(const struct message_header *header);

/*
 * After all `size` bytes have come: makes the bytes up to the next sector boundary zero, as the log
 * has a prepare's. The buffer is of whole sectors from the body on.
 */
void message_pad(struct message_header *header);

#endif
