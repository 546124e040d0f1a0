/* SPDX-License-Identifier: PostgreSQL */
/* See message_fixture.h. */
#include "unit/message_fixture.h"

#include <string.h>

#include "base/checksum.h"
#include "base/units.h"

/* ---- Making ---------------------------------------------------------------------------------- */

static void
make_prepare_header(struct prepare_header *prepare, uint64_t op, uint32_t size)
{
    memset(prepare, 0, sizeof(*prepare));
    prepare->cluster = FIXTURE_CLUSTER;
    prepare->op = op;
    prepare->commit = op - 1;
    prepare->size = size;
    prepare->position = op * SECTOR_SIZE;
    prepare->version = DISK_FORMAT_VERSION;
    const bool pulse = size == PREPARE_HEADER_SIZE;
    prepare->operation = pulse ? PREPARE_PULSE : PREPARE_BATCHES;
    prepare->event_count = pulse ? PULSE_EXPIRIES_MAX : 1;
    prepare->record_count = pulse ? 0 : 1;
    prepare->timestamp = op * PULSE_EXPIRIES_MAX;
    prepare->voters = 1;
}

void
message_fixture_prepare(struct message_header *header, uint64_t op, uint32_t body_size)
{
    struct prepare_header *prepare = message_body(header);
    assert(body_size >= PREPARE_HEADER_SIZE && body_size <= PREPARE_SIZE_MAX);
    memset(header, 0, MESSAGE_HEADER_SIZE);
    header->command = MESSAGE_PREPARE;
    header->cluster = FIXTURE_CLUSTER;
    header->size = MESSAGE_HEADER_SIZE + body_size;
    header->op = op;
    make_prepare_header(prepare, op, body_size);
    uint8_t *bytes = (uint8_t *) (prepare + 1);
    for (uint32_t i = 0; i < body_size - PREPARE_HEADER_SIZE; i++) {
        bytes[i] = (uint8_t) (op * 31 + i * 7);
    }
    message_pad(header);
    prepare_seal(prepare);
    message_seal(header, MESSAGE_VERSION_MAX);
}

/* A chain that ends at `op`. */
static void
make_suffix(struct prepare_header *suffix, uint32_t count, uint64_t op)
{
    for (uint32_t i = 0; i < count; i++) {
        make_prepare_header(&suffix[i], op + 1 - count + i, PREPARE_HEADER_SIZE);
        if (i > 0) suffix[i].parent = suffix[i - 1].checksum;
        prepare_seal(&suffix[i]);
    }
}

static uint32_t
make_hello(struct message_header *header, struct prng *prng)
{
    struct message_hello *hello = message_body(header);
    *hello = (struct message_hello){
        .incarnation = prng_range(prng, 1, 1000),
        .session = prng_range(prng, 1, 1000),
        .version_min = 1,
        .version_max = (uint8_t) prng_range(prng, 1, 3),
        .name = "node-1",
    };
    header->op = prng_below(prng, 100);
    return sizeof(*hello);
}

static uint32_t
make_vote(struct message_header *header, struct prng *prng)
{
    struct message_do_view_change_body *body = message_body(header);
    const uint32_t count = (uint32_t) prng_range(prng, 0, VIEW_HEADERS_MAX);
    header->view = 9;
    header->op = 100;
    header->commit = 100 - prng_below(prng, min_u64(count, PIPELINE_PREPARES_MAX) + 1);
    header->flags = MESSAGE_COMMIT_KNOWN;
    body->commit_checksum = prng_next(prng);
    make_suffix((struct prepare_header *) (body + 1), count, header->op);
    header->as.do_view_change.suffix_count = (uint8_t) count;
    header->as.do_view_change.log_view = 8;
    for (uint32_t i = 0; i < count; i++) {
        if (prng_chance(prng, 1, 3)) header->as.do_view_change.present |= (uint16_t) (1U << i);
    }
    return (uint32_t) (sizeof(*body) + count * PREPARE_HEADER_SIZE);
}

static uint32_t
make_start_view(struct message_header *header, struct prng *prng)
{
    struct message_start_view_body *body = message_body(header);
    struct prepare_header *suffix = (struct prepare_header *) (body + 1);
    const uint32_t count = (uint32_t) prng_range(prng, 1, VIEW_HEADERS_MAX);
    memset(body, 0, sizeof(*body));
    header->view = 9;
    header->op = 100;
    header->commit = 100 - prng_below(prng, count);
    header->as.start_view.suffix_count = (uint8_t) count;
    make_suffix(suffix, count, header->op);
    members_lone(&body->members, 5);
    body->commit_checksum = suffix[count - 1 - (header->op - header->commit)].checksum;
    return (uint32_t) (sizeof(*body) + count * PREPARE_HEADER_SIZE);
}

static uint32_t
make_entries(struct message_header *header, struct prng *prng)
{
    struct message_entry *entries = message_body(header);
    const uint32_t count = (uint32_t) prng_range(prng, 1, VIEW_HEADERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = (struct message_entry){.checksum = prng_next(prng), .op = 100 - i};
    }
    header->as.get_prepares.bytes_wanted = MIB;
    header->as.get_prepares.entry_count = (uint8_t) count;
    return (uint32_t) (count * sizeof(*entries));
}

static uint32_t
make_references(struct message_header *header, struct prng *prng)
{
    struct block_reference *references = message_body(header);
    const uint32_t count = (uint32_t) prng_range(prng, 1, MESSAGE_BLOCKS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        references[i] =
            (struct block_reference){.checksum = prng_next(prng), .address = i + UINT64_C(1)};
    }
    header->as.get_blocks.block_count = (uint8_t) count;
    return (uint32_t) (count * sizeof(*references));
}

static uint32_t
make_checkpoint(struct message_header *header)
{
    struct message_checkpoint *body = message_body(header);
    memset(body, 0, sizeof(*body));
    header->checkpoint_op = 90;
    header->commit = 95;
    make_suffix(&body->checkpoint.header, 1, 90);
    members_lone(&body->members, 5);
    body->checkpoint.members_checksum = members_checksum(&body->members);
    make_suffix(&body->anchor, 1, 99);
    return sizeof(*body);
}

static uint32_t
make_node_record(struct message_header *header, struct prng *prng)
{
    struct message_node_record *record = message_body(header);
    *record = (struct message_node_record){
        .incarnation = 5, .fence_next = prng_range(prng, 1, 99), .session = 6};
    return sizeof(*record);
}

static uint32_t
make_zeros(struct message_header *header, uint32_t size)
{
    memset(message_body(header), 0, size);
    return size;
}

static uint32_t
make_body(struct message_header *header, struct prng *prng)
{
    switch ((enum message_command) header->command) {
    case MESSAGE_HELLO: return make_hello(header, prng);
    case MESSAGE_BYE: {
        struct message_bye *bye = message_body(header);
        *bye = (struct message_bye){.reason = (uint8_t) prng_range(prng, 1, 10)};
        return sizeof(*bye);
    }
    case MESSAGE_REQUEST:
    case MESSAGE_REFUSE:
        header->as.numbers =
            (struct message_numbers){.session = 3, .number = prng_range(prng, 1, 9), .count = 2};
        if (header->command == MESSAGE_REQUEST) {
            return make_zeros(header, PREPARE_HEADER_SIZE + 2 * EVENT_SIZE);
        }
        header->as.numbers.reason = MESSAGE_REFUSE_DISK;
        return 0;
    case MESSAGE_PREPARE_OK: return make_zeros(header, sizeof(struct message_prepare_ok_body));
    case MESSAGE_COMMIT: return make_zeros(header, sizeof(struct message_clock));
    case MESSAGE_DO_VIEW_CHANGE: return make_vote(header, prng);
    case MESSAGE_START_VIEW: return make_start_view(header, prng);
    case MESSAGE_GET_PREPARES: return make_entries(header, prng);
    case MESSAGE_GET_BLOCKS: return make_references(header, prng);
    case MESSAGE_BLOCK:
        header->as.block.reference.address = prng_range(prng, 1, 99);
        return make_zeros(header, BLOCK_SIZE);
    case MESSAGE_CHECKPOINT: return make_checkpoint(header);
    case MESSAGE_NODE_RECORD: return make_node_record(header, prng);
    case MESSAGE_WISH:
        header->round = prng_range(prng, 1, 99);
        header->as.wish = (struct message_wish){.name = "b", .adds = prng_chance(prng, 1, 2)};
        return 0;
    case MESSAGE_WISH_ANSWER: header->as.wish_answer.outcome = 3; return 0;
    case MESSAGE_GET_VIEW: header->as.get_view.nonce = prng_range(prng, 1, 99); return 0;
    case MESSAGE_ABSENT: header->as.absent.asked = MESSAGE_GET_PREPARE; return 0;
    case MESSAGE_SUSPECT:
        header->flags = MESSAGE_RESIGN;
        header->as.suspect.view_next = header->view + 1;
        return 0;
    case MESSAGE_GET_PREPARE:
    case MESSAGE_GET_CHECKPOINT:
    case MESSAGE_READ_INDEX:
    case MESSAGE_READ_OK:
    case MESSAGE_PREPARE:
    case MESSAGE_RESERVED: break;
    }
    return 0;
}

void
message_fixture_make(struct message_header *header, uint8_t command, struct prng *prng)
{
    if (command == MESSAGE_PREPARE) {
        const uint64_t size =
            prng_range(prng, PREPARE_HEADER_SIZE + EVENT_SIZE, PREPARE_SIZE_MAX);
        message_fixture_prepare(header, prng_range(prng, 1, 1000), (uint32_t) size);
        return;
    }
    memset(header, 0, MESSAGE_HEADER_SIZE);
    header->command = command;
    header->cluster = FIXTURE_CLUSTER;
    header->sender = (uint8_t) prng_below(prng, MEMBERS_MAX);
    header->size = MESSAGE_HEADER_SIZE + make_body(header, prng);
    message_pad(header);
    message_seal(header, MESSAGE_VERSION_MAX);
}

/* ---- Using ----------------------------------------------------------------------------------- */

static uint64_t
use_suffix(const struct prepare_header *suffix, uint32_t count)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) sum += suffix[i].op;
    return sum;
}

uint64_t
message_fixture_use(const struct message_header *header)
{
    const void *body = message_body_const(header);
    uint64_t sum = checksum_64(body, header->size - MESSAGE_HEADER_SIZE);
    assert(strlen(message_command_name(header->command)) > 0);
    if (header->command == MESSAGE_DO_VIEW_CHANGE) {
        const struct message_do_view_change_body *vote = body;
        sum += use_suffix(
            (const struct prepare_header *) (vote + 1), header->as.do_view_change.suffix_count);
    }
    if (header->command == MESSAGE_START_VIEW) {
        const struct message_start_view_body *start = body;
        sum += use_suffix(
            (const struct prepare_header *) (start + 1), header->as.start_view.suffix_count);
    }
    if (header->command == MESSAGE_HELLO) {
        const struct message_hello *hello = body;
        assert(strlen(hello->name) < MESSAGE_NAME_SIZE);
    }
    if (header->command == MESSAGE_BYE) {
        const struct message_bye *bye = body;
        assert(strlen(message_bye_text(bye->reason)) > 0);
    }
    if (header->command == MESSAGE_PREPARE) {
        const struct prepare_header *prepare = body;
        assert(prepare_size_on_disk(prepare) <= PREPARE_SIZE_MAX);
        sum += prepare->op;
    }
    return sum;
}
