/* SPDX-License-Identifier: PostgreSQL */
#include "unit.h"

#include <stddef.h>

#include "base/checksum.h"
#include "base/prng.h"
#include "base/units.h"
#include "store/prepare.h"

#define CLUSTER u128_make(7, 11)

static _Alignas(SECTOR_SIZE) uint8_t message_bytes[PREPARE_SIZE_MAX];

/* A sealed prepare with a body of size_body bytes. */
static struct prepare_header *
make_prepare(uint32_t size_body)
{
    struct prepare_header *prepare = prepare_header_of(message_bytes);
    memset(message_bytes, 0, sizeof(message_bytes));
    memset(message_bytes + PREPARE_HEADER_SIZE, 0x5a, size_body);
    prepare->cluster = CLUSTER;
    prepare->parent = u128_make(1, 2);
    prepare->op = 5;
    prepare->commit = 4;
    prepare->timestamp = 99999;
    prepare->voters = 1;
    prepare->position = 3 * SECTOR_SIZE;
    prepare->size = PREPARE_HEADER_SIZE + size_body;
    prepare->version = DISK_FORMAT_VERSION;
    const bool pulse = size_body < EVENT_SIZE;
    prepare->operation = pulse ? PREPARE_PULSE : PREPARE_BATCHES;
    prepare->event_count = pulse ? PULSE_EXPIRIES_MAX : 1;
    prepare->record_count = pulse ? 0 : 1;
    prepare_seal(prepare);
    return prepare;
}

/* Is the header valid if its field is that? */
#define valid_with(field, value)                                                                   \
    ({                                                                                             \
        struct prepare_header *with_ = make_prepare(3 * EVENT_SIZE);                               \
        with_->field = (value);                                                                    \
        prepare_seal(with_);                                                                       \
        prepare_header_valid(with_, CLUSTER);                                                      \
    })

/* Prints the table of prepare.h and doc/disk_format.md, and compares. */
UNIT_TEST(byte_table_is_as_documented)
{
    static const struct {
        const char *name;
        uint64_t offset;
        uint64_t size;
    } rows[] = {
#define ROW(field)                                                                                 \
    {#field, offsetof(struct prepare_header, field), sizeof(((struct prepare_header *) 0)->field)}
        ROW(checksum),
        ROW(checksum_body),
        ROW(parent),
        ROW(cluster),
        ROW(checkpoint_id),
        ROW(op),
        ROW(commit),
        ROW(timestamp),
        ROW(position),
        ROW(members_op),
        ROW(size),
        ROW(view),
        ROW(event_count),
        ROW(record_count),
        ROW(version),
        ROW(voters),
        ROW(operation),
        ROW(replica),
        ROW(reserved),
#undef ROW
    };
    static const char expected[] =
        "checksum 0 16\nchecksum_body 16 16\nparent 32 16\ncluster 48 16\ncheckpoint_id 64 16\n"
        "op 80 8\ncommit 88 8\ntimestamp 96 8\nposition 104 8\nmembers_op 112 8\nsize 120 4\n"
        "view 124 4\nevent_count 128 4\nrecord_count 132 4\nversion 136 2\nvoters 138 2\n"
        "operation 140 1\nreplica 141 1\nreserved 142 114\n";
    char table[1024] = "";
    uint64_t end = 0;
    for (uint64_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const uint64_t used = strlen(table);
        (void) snprintf(
            table + used,
            sizeof(table) - used,
            "%s %" PRIu64 " %" PRIu64 "\n",
            rows[i].name,
            rows[i].offset,
            rows[i].size);
        expect_equal(rows[i].offset, end);
        end += rows[i].size;
    }
    expect_equal(end, PREPARE_HEADER_SIZE);
    expect(strcmp(table, expected) == 0);
}

UNIT_TEST(p1_sizes_are_bounded)
{
    struct prepare_header *prepare = make_prepare(256);
    expect(prepare_header_valid(prepare, CLUSTER));
    expect_equal(prepare_size_on_disk(prepare), SECTOR_SIZE);

    static const uint32_t bad[] = {0, 1, PREPARE_HEADER_SIZE - 1, PREPARE_SIZE_MAX + 1, UINT32_MAX};
    for (uint64_t i = 0; i < ARRAY_COUNT(bad); i++) {
        prepare = make_prepare(0);
        prepare->size = bad[i];
        const uint8_t *bytes = (const uint8_t *) prepare;
        prepare->checksum = checksum(bytes + 16, PREPARE_HEADER_SIZE - 16);
        expect(!prepare_header_valid(prepare, CLUSTER));
        expect(!prepare_valid(prepare, CLUSTER));
    }
    prepare = make_prepare(PREPARE_SIZE_MAX - PREPARE_HEADER_SIZE);
    expect(prepare_valid(prepare, CLUSTER));
    expect_equal(prepare_size_on_disk(prepare), PREPARE_SIZE_MAX);
}

/* Every ring of up to 8 sectors, every parent in two laps, every size. */
UNIT_TEST(p2_positions_follow_from_the_parent)
{
    for (uint64_t ring_sectors = 4; ring_sectors <= 8; ring_sectors++) {
        const uint64_t ring = ring_sectors * SECTOR_SIZE;
        for (uint64_t at = 0; at < 2 * ring_sectors; at++) {
            for (uint64_t sectors = 1; sectors <= ring_sectors; sectors++) {
                struct prepare_header *parent = make_prepare(0);
                parent->position = at * SECTOR_SIZE;
                const uint64_t size = sectors * SECTOR_SIZE;
                const uint64_t position = prepare_next_position(parent, size, ring);
                const uint64_t end = (at + 1) * SECTOR_SIZE;
                const uint64_t lap_next = (end + ring - 1) / ring * ring;
                const bool fits = end % ring + size <= ring;
                expect_equal(position, fits ? end : lap_next);
                expect_equal(position % SECTOR_SIZE, 0);
                expect(position % ring + size <= ring);
                expect(position - end < size); /* A skip wastes less than the prepare takes. */
            }
        }
    }
    struct prepare_header *prepare = make_prepare(0);
    prepare->position = 1;
    prepare_seal(prepare);
    expect(!prepare_header_valid(prepare, CLUSTER));
}

UNIT_TEST(p3_padding_is_zero)
{
    for (uint32_t size_body = 0; size_body <= 2 * EVENT_SIZE; size_body += EVENT_SIZE) {
        struct prepare_header *prepare = make_prepare(size_body);
        expect(prepare_valid(prepare, CLUSTER));
        for (uint64_t i = prepare->size; i < prepare_size_on_disk(prepare); i++) {
            message_bytes[i] = 1;
            expect(!prepare_valid(prepare, CLUSTER));
            message_bytes[i] = 0;
        }
        expect(prepare_valid(prepare, CLUSTER));
    }
}

UNIT_TEST(any_changed_bit_is_found)
{
    struct prepare_header *prepare = make_prepare(3 * EVENT_SIZE);
    for (uint64_t bit = 0; bit < 8 * (uint64_t) prepare->size; bit++) {
        message_bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
        expect(!prepare_valid(prepare, CLUSTER));
        expect(prepare_header_valid(prepare, CLUSTER) == (bit / 8 >= PREPARE_HEADER_SIZE));
        message_bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
    }
    expect(prepare_valid(prepare, CLUSTER));
}

UNIT_TEST(sealed_nonsense_is_refused)
{
    expect(!prepare_header_valid(make_prepare(0), CLUSTER + 1));
    struct prepare_header *prepare = make_prepare(0);
    prepare->version = DISK_FORMAT_VERSION + 1;
    prepare_seal(prepare);
    expect(!prepare_header_valid(prepare, CLUSTER));
    for (uint32_t operation = 0; operation <= UINT8_MAX; operation++) {
        expect(valid_with(operation, (uint8_t) operation) == (operation == PREPARE_BATCHES));
        prepare = make_prepare(0);
        prepare->operation = (uint8_t) operation;
        prepare_seal(prepare);
        expect(prepare_header_valid(prepare, CLUSTER) == (operation == PREPARE_PULSE));
    }
    for (uint64_t i = 0; i < sizeof(prepare->reserved); i++) {
        prepare = make_prepare(0);
        prepare->reserved[i] = 1;
        prepare_seal(prepare);
        expect(!prepare_header_valid(prepare, CLUSTER));
    }
    prepare = make_prepare(EVENT_SIZE);
    prepare->operation = PREPARE_PULSE;
    prepare_seal(prepare);
    expect(!prepare_header_valid(prepare, CLUSTER));
}

/* Fields that follow from others, or are bounded by them. */
UNIT_TEST(fields_that_contradict_each_other_are_refused)
{
    expect(valid_with(view, UINT32_MAX));
    expect(!valid_with(event_count, 0) && !valid_with(event_count, EVENTS_PER_BATCH_MAX + 1));
    expect(valid_with(event_count, EVENTS_PER_BATCH_MAX));
    expect(!valid_with(record_count, 0) && !valid_with(record_count, 4));
    expect(valid_with(record_count, 3) && !valid_with(record_count, UINT32_MAX));
    expect(valid_with(timestamp, 1) && !valid_with(timestamp, 0));
    expect(valid_with(timestamp, TIMESTAMP_MAX) && !valid_with(timestamp, TIMESTAMP_MAX + 1));
    expect(!valid_with(op, 0));
    expect(valid_with(replica, MEMBERS_MAX - 1) && !valid_with(replica, MEMBERS_MAX));
    for (uint32_t bit = 0; bit < 16; bit++) {
        expect_equal(valid_with(voters, (uint16_t) (1 << bit)), bit < MEMBERS_MAX);
    }
    expect(!valid_with(voters, 0));
    expect(valid_with(voters, (1 << VOTERS_MAX) - 1) && !valid_with(voters, (2 << VOTERS_MAX) - 1));
    /* (V12): what changes the members does nothing else, and nothing else does. */
    expect(valid_with(members_op, 4) && !valid_with(members_op, 5) && !valid_with(members_op, 6));
    struct prepare_header *node = make_prepare(EVENT_SIZE);
    node->operation = PREPARE_NODE;
    node->event_count = 1;
    node->record_count = 1;
    for (uint64_t members_op = 0; members_op < 7; members_op++) {
        node->members_op = members_op;
        prepare_seal(node);
        expect_equal(prepare_header_valid(node, CLUSTER), members_op == node->op);
    }
    node->members_op = node->op;
    node->event_count = 2;
    prepare_seal(node);
    expect(!prepare_header_valid(node, CLUSTER));
    node->event_count = 1;
    node->size += EVENT_SIZE;
    prepare_seal(node);
    expect(!prepare_header_valid(node, CLUSTER));

    struct prepare_header *prepare = make_prepare(0);
    prepare->event_count -= 1;
    prepare_seal(prepare);
    expect(!prepare_header_valid(prepare, CLUSTER));
}

UNIT_TEST(v4_few_ops_are_uncommitted)
{
    const uint64_t op = 5;
    expect(!valid_with(commit, op) && !valid_with(commit, op + 1));
    expect(!valid_with(commit, UINT64_MAX));
    expect(valid_with(commit, op - 1));
    for (uint64_t far = op; far < op + 2 * PIPELINE_PREPARES_MAX; far++) {
        struct prepare_header *prepare = make_prepare(0);
        prepare->op = far;
        prepare->commit = op - 1;
        prepare_seal(prepare);
        const bool few = far - (op - 1) <= PIPELINE_PREPARES_MAX;
        expect_equal(prepare_header_valid(prepare, CLUSTER), few);
    }
}

/* A prepare, and the next one. */
static void
make_pair(struct prepare_header *parent, struct prepare_header *header)
{
    *parent = *make_prepare(EVENT_SIZE);
    parent->voters = 0x7;
    parent->members_op = 2;
    prepare_seal(parent);
    *header = *parent;
    header->parent = parent->checksum;
    header->op += 1;
    header->timestamp += 1;
}

UNIT_TEST(what_follows_continues_chain_time_view_and_commit)
{
    struct prepare_header parent, header;
    make_pair(&parent, &header);
    expect(prepare_follows(&parent, &header));
    header.commit = header.op - 1;
    header.view += 1;
    header.timestamp += 1000;
    header.replica += 1;
    expect(prepare_follows(&parent, &header));

#define follows_with(change)                                                                       \
    ({                                                                                             \
        make_pair(&parent, &header);                                                               \
        parent.view = 3;                                                                           \
        header.view = 3;                                                                           \
        change;                                                                                    \
        prepare_follows(&parent, &header);                                                         \
    })
    expect(follows_with((void) 0));
    expect(!follows_with(header.op += 1));
    expect(!follows_with(header.op -= 1));
    expect(!follows_with(header.parent ^= 1));
    expect(!follows_with(header.cluster ^= 1));
    expect(!follows_with(header.timestamp -= 1));
    expect(!follows_with(header.event_count += 1));
    expect(!follows_with(header.view -= 1));
    expect(!follows_with(header.commit -= 1));
}

/* All old and new voters, each newest change, each commit that V4 allows. */
UNIT_TEST(v12_members_change_one_at_a_time_and_alone)
{
    struct prepare_header parent, header;
    make_pair(&parent, &header);
    const uint64_t op = header.op;
    uint32_t allowed = 0;
    for (uint32_t before = 1; before < 1 << MEMBERS_MAX; before += 7) {
        for (uint32_t after = 1; after < 1 << MEMBERS_MAX; after++) {
            const uint32_t differing = (uint32_t) __builtin_popcount(before ^ after);
            for (uint64_t members_op = 0; members_op <= op; members_op++) {
                parent.voters = (uint16_t) before;
                header.voters = (uint16_t) after;
                header.members_op = members_op;
                header.commit = op - 1;
                const bool same = members_op == parent.members_op && differing == 0;
                const bool changes = members_op == op && differing <= 1;
                allowed += changes;
                expect_equal(prepare_follows(&parent, &header), same || changes);
                header.commit = op - 2;
                expect_equal(prepare_follows(&parent, &header), same);
            }
        }
    }
    expect(allowed > 5000);
}

UNIT_TEST(blank_is_neither_valid_nor_anything_else)
{
    struct prepare_header header = {0};
    expect(prepare_header_blank(&header));
    expect(!prepare_header_valid(&header, 0));
    for (uint64_t i = 0; i < PREPARE_HEADER_SIZE; i++) {
        ((uint8_t *) &header)[i] = 0x80;
        expect(!prepare_header_blank(&header));
        ((uint8_t *) &header)[i] = 0;
    }
}

UNIT_TEST(root_is_the_same_in_every_cluster_of_one_id)
{
    struct prepare_header a, b;
    memset(&a, 0xff, sizeof(a));
    memset(&b, 0x11, sizeof(b));
    prepare_root(&a, CLUSTER, 1);
    prepare_root(&b, CLUSTER, 1);
    expect(memcmp(&a, &b, sizeof(a)) == 0);
    expect(prepare_header_valid(&a, CLUSTER));
    expect_equal(a.op, 0);
    expect_equal(a.voters, 1);
    expect_equal(a.members_op, 0);
    prepare_root(&b, CLUSTER + 1, 1);
    expect(a.checksum != b.checksum);
}

UNIT_MAIN(test_prepare)
