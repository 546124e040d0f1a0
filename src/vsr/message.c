/* SPDX-License-Identifier: PostgreSQL */
/* See message.h. */
#include "vsr/message.h"

#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/units.h"
#include "vsr/multi_batch.h"

/* The header's checksum covers everything after itself. */
#define MESSAGE_CHECKSUM_START sizeof(u128)

static_assert(offsetof(struct message_header, checksum) == 0, "MESSAGE_CHECKSUM_START");

/* Fields of the header that a command uses; the others are zero. */
enum {
    USES_VIEW = 1 << 0,
    USES_OP = 1 << 1,
    USES_COMMIT = 1 << 2,
    USES_ROUND = 1 << 3,
    USES_CHECKPOINT = 1 << 4,
};

/* The body is body_min bytes, plus 0 … units_max times unit_size. */
struct message_rule {
    const char *name;
    uint8_t uses;
    uint8_t flags;
    uint32_t body_min;
    uint32_t unit_size;
    uint32_t units_max;
};

#define SUFFIX sizeof(struct prepare_header), VIEW_HEADERS_MAX

static const struct message_rule message_rules[MESSAGE_COMMAND_COUNT] = {
    [MESSAGE_HELLO] =
        {"hello", USES_VIEW | USES_OP, MESSAGE_UNCERTAIN | MESSAGE_SYNCING | MESSAGE_HOLED,
         sizeof(struct message_hello), 0, 0},
    [MESSAGE_BYE] =
        {"bye", USES_VIEW | USES_OP, MESSAGE_FOREVER, sizeof(struct message_bye), 0, 0},
    [MESSAGE_REQUEST] =
        {"request", USES_VIEW, 0, PREPARE_HEADER_SIZE + EVENT_SIZE, EVENT_SIZE,
         (PREPARE_SIZE_MAX - PREPARE_HEADER_SIZE) / EVENT_SIZE - 1},
    [MESSAGE_REFUSE] = {"refuse", USES_VIEW, MESSAGE_NOT_PRIMARY, 0, 0, 0},
    [MESSAGE_PREPARE] =
        {"prepare", USES_VIEW | USES_OP | USES_COMMIT | USES_ROUND, MESSAGE_REPAIR,
         PREPARE_HEADER_SIZE, 1, PREPARE_SIZE_MAX - PREPARE_HEADER_SIZE},
    [MESSAGE_PREPARE_OK] =
        {"prepare_ok", USES_VIEW | USES_OP | USES_COMMIT | USES_ROUND | USES_CHECKPOINT, 0,
         sizeof(struct message_prepare_ok_body), 0, 0},
    [MESSAGE_COMMIT] =
        {"commit", USES_VIEW | USES_OP | USES_COMMIT | USES_ROUND, 0,
         sizeof(struct message_clock), 0, 0},
    [MESSAGE_SUSPECT] = {"suspect", USES_VIEW, MESSAGE_RESIGN, 0, 0, 0},
    [MESSAGE_DO_VIEW_CHANGE] =
        {"do_view_change", USES_VIEW | USES_OP | USES_COMMIT | USES_ROUND,
         MESSAGE_UNCERTAIN | MESSAGE_SYNCING | MESSAGE_COMMIT_KNOWN,
         sizeof(struct message_do_view_change_body), SUFFIX},
    [MESSAGE_START_VIEW] =
        {"start_view", USES_VIEW | USES_OP | USES_COMMIT | USES_CHECKPOINT, 0,
         sizeof(struct message_start_view_body), SUFFIX},
    [MESSAGE_GET_VIEW] = {"get_view", USES_VIEW, 0, 0, 0, 0},
    [MESSAGE_GET_PREPARES] =
        {"get_prepares", USES_VIEW, 0, sizeof(struct message_entry),
         sizeof(struct message_entry), VIEW_HEADERS_MAX - 1},
    [MESSAGE_GET_PREPARE] = {"get_prepare", USES_VIEW | USES_OP, 0, 0, 0, 0},
    [MESSAGE_ABSENT] = {"absent", USES_VIEW | USES_OP | USES_CHECKPOINT, 0, 0, 0, 0},
    [MESSAGE_GET_BLOCKS] =
        {"get_blocks", 0, 0, sizeof(struct block_reference), sizeof(struct block_reference),
         MESSAGE_BLOCKS_MAX - 1},
    [MESSAGE_BLOCK] = {"block", 0, 0, BLOCK_SIZE, 0, 0},
    [MESSAGE_GET_CHECKPOINT] = {"get_checkpoint", USES_VIEW, 0, 0, 0, 0},
    [MESSAGE_CHECKPOINT] =
        {"checkpoint", USES_VIEW | USES_COMMIT | USES_CHECKPOINT, 0,
         sizeof(struct message_checkpoint), 0, 0},
    [MESSAGE_READ_INDEX] = {"read_index", USES_VIEW, 0, 0, 0, 0},
    [MESSAGE_READ_OK] = {"read_ok", USES_VIEW | USES_COMMIT, 0, 0, 0, 0},
    [MESSAGE_NODE_RECORD] = {"node_record", USES_VIEW, 0, sizeof(struct message_node_record), 0, 0},
    [MESSAGE_WISH] = {"wish", USES_VIEW | USES_ROUND, 0, 0, 0, 0},
    [MESSAGE_WISH_ANSWER] = {"wish_answer", USES_VIEW | USES_ROUND, 0, 0, 0, 0},
};

static const char *const bye_texts[MESSAGE_BYE_REASON_COUNT] = {
    [MESSAGE_BYE_SHUTDOWN] = "it shuts down",
    [MESSAGE_BYE_PROTOCOL] = "the two releases have no protocol version in common",
    [MESSAGE_BYE_CLUSTER] = "the two nodes belong to different clusters",
    [MESSAGE_BYE_FINGERPRINT] = "the two builds have different limits, and write other bytes",
    [MESSAGE_BYE_RING] = "the sizes of the two prepares logs differ",
    [MESSAGE_BYE_NAME] = "the name is not in the list of nodes",
    [MESSAGE_BYE_SELF] = "both nodes have the same name",
    [MESSAGE_BYE_CONNECTED] = "there is another connection between the two nodes already",
    [MESSAGE_BYE_INCARNATION] = "its data directory is not the one known here, or an older copy",
    [MESSAGE_BYE_REMOVED] = "the node is no longer a member",
    [MESSAGE_BYE_FENCE] = "its data directory is older than what the node was at, or a copy of it",
};

static const char *const bye_hints[MESSAGE_BYE_REASON_COUNT] = {
    [MESSAGE_BYE_SHUTDOWN] = "start it again",
    [MESSAGE_BYE_PROTOCOL] = "install the same release on both nodes",
    [MESSAGE_BYE_CLUSTER] =
        "see whether ledger.nodes has the right addresses; who joins must have no ledger yet",
    [MESSAGE_BYE_FINGERPRINT] = "install the same build on both nodes",
    [MESSAGE_BYE_RING] = "a node joins with the ledger.wal_size of the others",
    [MESSAGE_BYE_NAME] = "set ledger.nodes to the same list on all nodes",
    [MESSAGE_BYE_SELF] = "set a ledger.node_name of its own on each node",
    [MESSAGE_BYE_CONNECTED] = "there is nothing to do",
    [MESSAGE_BYE_INCARNATION] = "see whether the node was copied, or restored from a backup",
    [MESSAGE_BYE_REMOVED] = "stop it, or let it join anew",
    [MESSAGE_BYE_FENCE] = "remove the node at a member, empty its directory, and add it anew",
};

const char *
message_command_name(uint8_t command)
{
    if (command == MESSAGE_RESERVED || command >= MESSAGE_COMMAND_COUNT) return "unknown";
    return message_rules[command].name;
}

const char *
message_bye_text(uint8_t reason)
{
    if (reason == 0 || reason >= MESSAGE_BYE_REASON_COUNT) return "the reason is not known here";
    return bye_texts[reason];
}

const char *
message_bye_hint(uint8_t reason)
{
    if (reason == 0 || reason >= MESSAGE_BYE_REASON_COUNT) {
        return "install the same release on both nodes";
    }
    return bye_hints[reason];
}

bool
message_name_valid(const char name[MESSAGE_NAME_SIZE])
{
    return member_name_valid(name) && name[MEMBER_NAME_MAX] == 0;
}

static u128
message_checksum(const struct message_header *header)
{
    return checksum(
        (const uint8_t *) header + MESSAGE_CHECKSUM_START,
        MESSAGE_HEADER_SIZE - MESSAGE_CHECKSUM_START);
}

static uint32_t
message_body_size(const struct message_header *header)
{
    assert(header->size >= MESSAGE_HEADER_SIZE);
    return header->size - MESSAGE_HEADER_SIZE;
}

/* The sum of an empty body, and of one that has its own, is zero. */
static u128
message_checksum_body(const struct message_header *header)
{
    if (header->command == MESSAGE_PREPARE || header->size == MESSAGE_HEADER_SIZE) return 0;
    return checksum(message_body_const(header), message_body_size(header));
}

static bool
message_size_valid(const struct message_header *header)
{
    const struct message_rule *rule = &message_rules[header->command];
    if (header->size < MESSAGE_HEADER_SIZE + rule->body_min) return false;
    const uint32_t more = header->size - MESSAGE_HEADER_SIZE - rule->body_min;
    if (rule->unit_size == 0) return more == 0;
    return more % rule->unit_size == 0 && more / rule->unit_size <= rule->units_max;
}

void
message_seal(struct message_header *header, uint8_t version)
{
    assert(header->command != MESSAGE_RESERVED && header->command < MESSAGE_COMMAND_COUNT);
    assert(message_size_valid(header));
    header->version = version;
    header->checksum_body = message_checksum_body(header);
    header->checksum = message_checksum(header);
}

/* ---- Headers --------------------------------------------------------------------------------- */

/* Units of the body beyond its least size. */
static uint32_t
message_units(const struct message_header *header)
{
    const struct message_rule *rule = &message_rules[header->command];
    assert(rule->unit_size > 0);
    return (message_body_size(header) - rule->body_min) / rule->unit_size;
}

static bool
numbers_valid(const struct message_header *header)
{
    const struct message_numbers *numbers = &header->as.numbers;
    if (!bytes_zero(numbers->reserved, sizeof(numbers->reserved))) return false;
    const bool hint = (header->flags & MESSAGE_NOT_PRIMARY) != 0;
    const bool reasoned = header->command == MESSAGE_REFUSE && !hint;
    if (reasoned != (numbers->reason != 0) || numbers->reason > MESSAGE_REFUSE_DISK) return false;
    if (numbers->session == 0 || numbers->number == 0) return false;
    if (numbers->count == 0 || numbers->count > BATCHES_PER_PREPARE_MAX) return false;
    return numbers->number <= UINT64_MAX - numbers->count;
}

static bool
do_view_change_valid(const struct message_header *header)
{
    const struct message_do_view_change *vote = &header->as.do_view_change;
    if (!bytes_zero(vote->reserved, sizeof(vote->reserved))) return false;
    if (vote->suffix_count != message_units(header)) return false;
    const uint32_t bits = (1U << vote->suffix_count) - 1; /* At most VIEW_HEADERS_MAX of them. */
    if (((vote->present | vote->nacks) & ~bits) != 0) return false;
    if ((vote->present & vote->nacks) != 0) return false;
    if ((header->flags & MESSAGE_UNCERTAIN) != 0 && vote->nacks != 0) return false;
    if (vote->log_view > header->view) return false;
    /* All that may be uncommitted is listed, and nothing from before the log's first entry. */
    if (header->commit > header->op) return false;
    if (header->op - header->commit > PIPELINE_PREPARES_MAX) return false;
    if (vote->suffix_count < header->op - header->commit) return false;
    return vote->suffix_count <= header->op + 1;
}

static bool
start_view_valid(const struct message_header *header)
{
    const struct message_start_view *start = &header->as.start_view;
    if (!bytes_zero(start->reserved, sizeof(start->reserved))) return false;
    if (start->suffix_count == 0 || start->suffix_count != message_units(header)) return false;
    if (header->commit > header->op) return false;
    if (header->op - header->commit > PIPELINE_PREPARES_MAX) return false;
    if (start->suffix_count < header->op - header->commit) return false;
    if (start->suffix_count > header->op + 1) return false;
    return start->op_oldest <= header->op && header->checkpoint_op <= header->commit;
}

static bool
absent_valid(const struct message_absent *absent)
{
    if (!bytes_zero(absent->reserved, sizeof(absent->reserved))) return false;
    return absent->asked == MESSAGE_GET_PREPARES || absent->asked == MESSAGE_GET_PREPARE ||
           absent->asked == MESSAGE_GET_BLOCKS;
}

static bool
suspect_valid(const struct message_header *header)
{
    const struct message_suspect *suspect = &header->as.suspect;
    if (!bytes_zero(suspect->reserved, sizeof(suspect->reserved))) return false;
    const bool resigns = (header->flags & MESSAGE_RESIGN) != 0;
    return resigns ? suspect->view_next > header->view : suspect->view_next == 0;
}

/* The 32 bytes whose meaning is the command's. */
static bool
message_special_valid(const struct message_header *header)
{
    switch ((enum message_command) header->command) {
    case MESSAGE_REQUEST:
    case MESSAGE_REFUSE: return numbers_valid(header);
    case MESSAGE_PREPARE_OK: return true;
    case MESSAGE_COMMIT:
    case MESSAGE_GET_PREPARE:
        return bytes_zero(header->as.checksum.reserved, sizeof(header->as.checksum.reserved));
    case MESSAGE_SUSPECT: return suspect_valid(header);
    case MESSAGE_DO_VIEW_CHANGE: return do_view_change_valid(header);
    case MESSAGE_START_VIEW: return start_view_valid(header);
    case MESSAGE_GET_VIEW:
        return header->as.get_view.nonce != 0 &&
               bytes_zero(header->as.get_view.reserved, sizeof(header->as.get_view.reserved));
    case MESSAGE_GET_PREPARES:
        return header->as.get_prepares.entry_count == message_units(header) + 1 &&
               header->as.get_prepares.bytes_wanted > 0 &&
               bytes_zero(
                   header->as.get_prepares.reserved, sizeof(header->as.get_prepares.reserved));
    case MESSAGE_ABSENT: return absent_valid(&header->as.absent);
    case MESSAGE_GET_BLOCKS:
        return header->as.get_blocks.block_count == message_units(header) + 1 &&
               bytes_zero(header->as.get_blocks.reserved, sizeof(header->as.get_blocks.reserved));
    case MESSAGE_BLOCK:
        return header->as.block.reference.address != 0 &&
               header->as.block.reference.reserved == 0;
    case MESSAGE_READ_INDEX:
    case MESSAGE_READ_OK:
        return bytes_zero(header->as.read.reserved, sizeof(header->as.read.reserved));
    case MESSAGE_CHECKPOINT:
        return header->as.receiver.slot < MEMBERS_MAX &&
               bytes_zero(header->as.receiver.reserved, sizeof(header->as.receiver.reserved));
    case MESSAGE_WISH:
        return header->round != 0 && header->as.wish.adds <= 1 &&
               member_name_valid(header->as.wish.name);
    case MESSAGE_WISH_ANSWER:
        return bytes_zero(header->as.wish_answer.reserved, sizeof(header->as.wish_answer.reserved));
    case MESSAGE_HELLO:
    case MESSAGE_BYE:
    case MESSAGE_PREPARE:
    case MESSAGE_GET_CHECKPOINT:
    case MESSAGE_NODE_RECORD:
        return bytes_zero(header->as.bytes, sizeof(header->as.bytes));
    case MESSAGE_RESERVED: break;
    }
    return false;
}

bool
message_header_valid(const struct message_header *header)
{
    /* What is asked first keeps later questions within the table and the buffer. */
    if (header->command == MESSAGE_RESERVED || header->command >= MESSAGE_COMMAND_COUNT) {
        return false;
    }
    if (!message_size_valid(header)) return false;
    if (header->checksum != message_checksum(header)) return false;

    const struct message_rule *rule = &message_rules[header->command];
    const bool greets = header->command == MESSAGE_HELLO || header->command == MESSAGE_BYE;
    const bool known =
        header->version >= MESSAGE_VERSION_MIN && header->version <= MESSAGE_VERSION_MAX;
    if (!greets && !known) return false;
    if (header->sender >= MEMBERS_MAX && header->sender != MESSAGE_SENDER_GUEST) {
        return false;
    }
    if (header->reserved != 0 || (header->flags & ~rule->flags) != 0) return false;
    if ((rule->uses & USES_VIEW) == 0 && header->view != 0) return false;
    if ((rule->uses & USES_OP) == 0 && header->op != 0) return false;
    if ((rule->uses & USES_COMMIT) == 0 && header->commit != 0) return false;
    if ((rule->uses & USES_ROUND) == 0 && header->round != 0) return false;
    if ((rule->uses & USES_CHECKPOINT) == 0 && header->checkpoint_op != 0) return false;
    const bool summed = header->command != MESSAGE_PREPARE && header->size > MESSAGE_HEADER_SIZE;
    if (!summed && header->checksum_body != 0) return false;
    return message_special_valid(header);
}

/* ---- Bodies ---------------------------------------------------------------------------------- */

static bool
hello_valid(const struct message_header *header)
{
    const struct message_hello *hello = message_body_const(header);
    if (!message_name_valid(hello->name)) return false;
    if (hello->version_min == 0 || hello->version_min > hello->version_max) return false;
    if (hello->log_view > header->view) return false;
    if (hello->incarnation == 0 || hello->session == 0) return false;
    /* Who is no member yet has no number, and may not know the cluster. */
    if (header->cluster == 0 && header->sender != MESSAGE_SENDER_GUEST) return false;
    return bytes_zero(hello->reserved_versions, sizeof(hello->reserved_versions)) &&
           bytes_zero(hello->reserved, sizeof(hello->reserved));
}

/* A newer release may have reasons that this one doesn't know. */
static bool
bye_valid(const struct message_header *header)
{
    const struct message_bye *bye = message_body_const(header);
    return bye->reason != 0 && bytes_zero(bye->reserved, sizeof(bye->reserved));
}

/* The place of a prepare's header comes first, so that the message can become the prepare. */
static bool
request_valid(const struct message_header *header)
{
    const uint8_t *body = message_body_const(header);
    return bytes_zero(body, PREPARE_HEADER_SIZE);
}

static bool
prepare_message_valid(const struct message_header *header)
{
    const struct prepare_header *prepare = message_body_const(header);
    if (prepare->size != message_body_size(header)) return false;
    if (prepare->op != header->op || prepare->op == 0) return false;
    if (prepare->view > header->view) return false;
    return prepare_valid(prepare, header->cluster);
}

static bool
suffix_header_valid(const struct prepare_header *entry, u128 cluster, uint64_t op)
{
    if (!prepare_header_valid(entry, cluster)) return false;
    if (entry->op != op || entry->commit > op) return false;
    return op - entry->commit <= PIPELINE_PREPARES_MAX;
}

static bool
vote_body_valid(const struct message_header *header)
{
    const struct message_do_view_change *vote = &header->as.do_view_change;
    const struct message_do_view_change_body *body = message_body_const(header);
    const struct prepare_header *suffix = (const struct prepare_header *) (body + 1);
    if ((header->flags & MESSAGE_COMMIT_KNOWN) == 0 && body->commit_checksum != 0) return false;
    for (uint32_t i = 0; i < vote->suffix_count; i++) {
        const uint64_t op = header->op + 1 - vote->suffix_count + i;
        if (prepare_header_blank(&suffix[i])) {
            /* It can be present only if its header is known. */
            if ((vote->present >> i & 1) != 0) return false;
            continue;
        }
        if (!suffix_header_valid(&suffix[i], header->cluster, op)) return false;
        if (suffix[i].view > vote->log_view) return false;
    }
    return true;
}

static bool
start_view_body_valid(const struct message_header *header)
{
    const uint32_t count = header->as.start_view.suffix_count;
    const struct message_start_view_body *body = message_body_const(header);
    const struct prepare_header *suffix = (const struct prepare_header *) (body + 1);
    if (!members_valid(&body->members)) return false;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t op = header->op + 1 - count + i;
        if (!suffix_header_valid(&suffix[i], header->cluster, op)) return false;
        if (suffix[i].view > header->view) return false;
        if (i > 0 && suffix[i].parent != suffix[i - 1].checksum) return false;
        if (op == header->commit && suffix[i].checksum != body->commit_checksum) return false;
    }
    return true;
}

static bool
entries_valid(const struct message_header *header)
{
    const struct message_entry *entries = message_body_const(header);
    for (uint32_t i = 0; i < header->as.get_prepares.entry_count; i++) {
        if (entries[i].reserved != 0) return false;
        if (i > 0 && entries[i].op >= entries[i - 1].op) return false;
    }
    return true;
}

static bool
references_valid(const struct message_header *header)
{
    const struct block_reference *references = message_body_const(header);
    for (uint32_t i = 0; i < header->as.get_blocks.block_count; i++) {
        if (references[i].address == 0 || references[i].reserved != 0) return false;
    }
    return true;
}

static bool
checkpoint_valid(const struct message_header *header)
{
    const struct message_checkpoint *body = message_body_const(header);
    if (!prepare_header_valid(&body->checkpoint.header, header->cluster)) return false;
    if (!prepare_header_valid(&body->anchor, header->cluster)) return false;
    if (body->checkpoint.header.op != header->checkpoint_op) return false;
    if (body->anchor.op < header->checkpoint_op) return false;
    if (!members_valid(&body->members)) return false;
    if (body->checkpoint.members_checksum != members_checksum(&body->members)) return false;
    return header->commit >= header->checkpoint_op;
}

static bool
node_record_valid(const struct message_header *header)
{
    const struct message_node_record *record = message_body_const(header);
    if (record->incarnation == 0 || record->session == 0 || record->fence_next == 0) return false;
    return bytes_zero(record->reserved, sizeof(record->reserved));
}

bool
message_body_valid(const struct message_header *header)
{
    assert(header->command != MESSAGE_RESERVED && header->command < MESSAGE_COMMAND_COUNT);
    if (header->checksum_body != message_checksum_body(header)) return false;
    switch ((enum message_command) header->command) {
    case MESSAGE_HELLO: return hello_valid(header);
    case MESSAGE_BYE: return bye_valid(header);
    case MESSAGE_REQUEST: return request_valid(header);
    case MESSAGE_PREPARE: return prepare_message_valid(header);
    case MESSAGE_PREPARE_OK: {
        const struct message_prepare_ok_body *body = message_body_const(header);
        return body->reserved == 0;
    }
    case MESSAGE_DO_VIEW_CHANGE: return vote_body_valid(header);
    case MESSAGE_START_VIEW: return start_view_body_valid(header);
    case MESSAGE_GET_PREPARES: return entries_valid(header);
    case MESSAGE_GET_BLOCKS: return references_valid(header);
    case MESSAGE_CHECKPOINT: return checkpoint_valid(header);
    case MESSAGE_NODE_RECORD: return node_record_valid(header);
    /* A block is verified by what it was asked as: who asked knows how (store/grid.h). */
    case MESSAGE_BLOCK:
    case MESSAGE_WISH:
    case MESSAGE_WISH_ANSWER:
    case MESSAGE_COMMIT:
    case MESSAGE_REFUSE:
    case MESSAGE_SUSPECT:
    case MESSAGE_GET_VIEW:
    case MESSAGE_GET_PREPARE:
    case MESSAGE_ABSENT:
    case MESSAGE_GET_CHECKPOINT:
    case MESSAGE_READ_INDEX:
    case MESSAGE_READ_OK: return true;
    case MESSAGE_RESERVED: break;
    }
    return false;
}

void
message_pad(struct message_header *header)
{
    const uint32_t size = message_body_size(header);
    const uint64_t padded = align_up(size, SECTOR_SIZE);
    assert(padded <= max_u64(PREPARE_SIZE_MAX, BLOCK_SIZE));
    memset((uint8_t *) message_body(header) + size, 0, padded - size);
}
