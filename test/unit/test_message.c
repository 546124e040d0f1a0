/* SPDX-License-Identifier: PostgreSQL */
/* Frames and bodies: what is valid, and what is not; and the pool of their buffers. */
#include <string.h>

#include "base/arena.h"
#include "base/checksum.h"
#include "base/units.h"
#include "unit/message_fixture.h"
#include "unit/unit.h"
#include "unit/unit_aborts.h"
#include "vsr/message.h"
#include "vsr/message_pool.h"

static struct message_buffer buffer;
static struct message_header *const frame = &buffer.header;

static bool
valid(void)
{
    return message_header_valid(frame) && message_body_valid(frame);
}

/* Sums made right again, as who changes a message on purpose would. */
static bool
valid_resealed(void)
{
    frame->checksum_body = 0;
    if (frame->command != MESSAGE_PREPARE && frame->size > MESSAGE_HEADER_SIZE) {
        frame->checksum_body = checksum(buffer.body, frame->size - MESSAGE_HEADER_SIZE);
    }
    frame->checksum = checksum((const uint8_t *) frame + 16, MESSAGE_HEADER_SIZE - 16);
    return valid();
}

UNIT_TEST(each_command_is_valid_as_made)
{
    struct prng prng;
    prng_init(&prng, 1);
    for (uint8_t command = 1; command < MESSAGE_COMMAND_COUNT; command++) {
        for (uint32_t i = 0; i < 50; i++) {
            message_fixture_make(frame, command, &prng);
            expect(valid());
            if (!valid()) printf("  %s\n", message_command_name(command));
            (void) message_fixture_use(frame);
        }
    }
}

/* Each bit of frame and body counts, padding included. */
UNIT_TEST(each_changed_bit_is_noticed)
{
    struct prng prng;
    prng_init(&prng, 2);
    for (uint8_t command = 1; command < MESSAGE_COMMAND_COUNT; command++) {
        message_fixture_make(frame, command, &prng);
        uint8_t *bytes = (uint8_t *) frame;
        for (uint32_t at = 0; at < frame->size; at++) {
            if (at > 512 && at + 512 < frame->size && at % 61 != 0) continue;
            bytes[at] ^= (uint8_t) (1 << at % 8);
            expect(!valid());
            bytes[at] ^= (uint8_t) (1 << at % 8);
        }
        expect(valid());
    }
}

/* Whoever changes sums too gets no further than a field that is used. */
UNIT_TEST(fields_that_a_command_has_not_are_zero)
{
    struct prng prng;
    prng_init(&prng, 3);
    message_fixture_make(frame, MESSAGE_READ_INDEX, &prng);
    expect(valid_resealed());
    frame->op = 1;
    expect(!valid_resealed());
    frame->op = 0;
    frame->commit = 1;
    expect(!valid_resealed());
    frame->commit = 0;
    frame->round = 1;
    expect(!valid_resealed());
    frame->round = 0;
    frame->checkpoint_op = 1;
    expect(!valid_resealed());
    frame->checkpoint_op = 0;
    frame->flags = MESSAGE_REPAIR;
    expect(!valid_resealed());
    frame->flags = 0;
    frame->reserved = 1;
    expect(!valid_resealed());
    frame->reserved = 0;
    frame->as.read.reserved[23] = 1;
    expect(!valid_resealed());
    frame->as.read.reserved[23] = 0;
    frame->sender = MEMBERS_MAX;
    expect(!valid_resealed());
    frame->sender = MESSAGE_SENDER_GUEST;
    expect(valid_resealed());
    frame->version = MESSAGE_VERSION_MAX + 1;
    expect(!valid_resealed());
    frame->version = 0;
    expect(!valid_resealed());
}

/* Who greets may be of a later version: that is what a hello is there to find out. */
UNIT_TEST(a_hello_of_a_later_version_is_valid)
{
    struct prng prng;
    prng_init(&prng, 4);
    message_fixture_make(frame, MESSAGE_HELLO, &prng);
    frame->version = 200;
    expect(valid_resealed());
}

UNIT_TEST(sizes_are_those_of_the_command)
{
    struct prng prng;
    prng_init(&prng, 5);
    for (uint8_t command = 1; command < MESSAGE_COMMAND_COUNT; command++) {
        message_fixture_make(frame, command, &prng);
        const uint32_t size = frame->size;
        const uint32_t wrong[] = {0, 1, MESSAGE_HEADER_SIZE - 1, size - 1, MESSAGE_SIZE_MAX + 1,
                                  UINT32_MAX};
        for (uint32_t i = 0; i < ARRAY_COUNT(wrong); i++) {
            frame->size = wrong[i];
            frame->checksum = checksum((const uint8_t *) frame + 16, MESSAGE_HEADER_SIZE - 16);
            /* A prepare may be of any size: it says its own. */
            expect(!message_header_valid(frame) || !message_body_valid(frame));
        }
        frame->size = size;
        expect(valid_resealed());
    }
    message_fixture_make(frame, MESSAGE_READ_OK, &prng);
    frame->command = MESSAGE_COMMAND_COUNT;
    expect(!valid_resealed());
    frame->command = MESSAGE_RESERVED;
    expect(!valid_resealed());
}

UNIT_TEST(a_vote_says_what_it_can_know)
{
    struct prng prng;
    prng_init(&prng, 6);
    struct message_do_view_change *vote = &frame->as.do_view_change;
    do {
        message_fixture_make(frame, MESSAGE_DO_VIEW_CHANGE, &prng);
    } while (vote->suffix_count < 3 || frame->commit != frame->op);
    struct prepare_header *suffix = (void *) (buffer.body + 16);
    vote->present = 1;
    expect(valid_resealed());
    vote->nacks = 1;
    expect(!valid_resealed()); /* Both. */
    vote->nacks = 2;
    expect(valid_resealed());
    frame->flags |= MESSAGE_UNCERTAIN;
    expect(!valid_resealed()); /* An uncertain log nacks nothing. */
    vote->nacks = 0;
    expect(valid_resealed());
    vote->present = (uint16_t) (1U << vote->suffix_count);
    expect(!valid_resealed()); /* Beyond the list. */
    vote->present = 1;
    memset(&suffix[0], 0, sizeof(suffix[0]));
    expect(!valid_resealed()); /* Present, and not known. */
    vote->present = 0;
    expect(valid_resealed());
    vote->suffix_count -= 1;
    expect(!valid_resealed());
    vote->suffix_count += 1;
    frame->commit = frame->op - PIPELINE_PREPARES_MAX - 1;
    expect(!valid_resealed()); /* More than may be uncommitted. */
    frame->commit = frame->op + 1;
    expect(!valid_resealed());
    frame->commit = frame->op;
    vote->log_view = frame->view + 1;
    expect(!valid_resealed());
}

/* (V4) is of each header that is listed, too: op − commit is bounded. */
UNIT_TEST(the_headers_of_a_start_view_are_one_chain)
{
    struct prng prng;
    prng_init(&prng, 7);
    do {
        message_fixture_make(frame, MESSAGE_START_VIEW, &prng);
    } while (frame->as.start_view.suffix_count < 3);
    struct prepare_header *suffix = (void *) (buffer.body + sizeof(struct message_start_view_body));
    const struct prepare_header right = suffix[1];
    suffix[1].timestamp += 1;
    prepare_seal(&suffix[1]);
    expect(!valid_resealed()); /* The next one's parent is another. */
    suffix[1] = right;
    expect(valid_resealed());
    const uint32_t last = frame->as.start_view.suffix_count - 1U;
    suffix[last].commit = suffix[last].op - PIPELINE_PREPARES_MAX - 1;
    prepare_seal(&suffix[last]);
    if (frame->commit < frame->op) expect(!valid_resealed());
    suffix[last].view = frame->view + 1;
    suffix[last].commit = suffix[last].op - 1;
    prepare_seal(&suffix[last]);
    expect(!valid_resealed()); /* Of a later view. */
}

/* A checkpoint's id depends on its members (S9 of the superblock), so they must be those. */
UNIT_TEST(a_table_of_members_is_checked)
{
    struct prng prng;
    prng_init(&prng, 8);
    message_fixture_make(frame, MESSAGE_START_VIEW, &prng);
    struct members *members = &((struct message_start_view_body *) (void *) buffer.body)->members;
    expect(valid_resealed());
    members->slots[0].role = MEMBER_STANDBY;
    expect(!valid_resealed()); /* Nobody votes. */
    members->slots[0].role = MEMBER_VOTER + 1;
    expect(!valid_resealed());

    message_fixture_make(frame, MESSAGE_CHECKPOINT, &prng);
    struct message_checkpoint *checkpoint = (void *) buffer.body;
    expect(valid_resealed());
    checkpoint->members.slots[0].incarnation += 1;
    expect(!valid_resealed()); /* Another table than the checkpoint's. */
    checkpoint->checkpoint.members_checksum = members_checksum(&checkpoint->members);
    expect(valid_resealed());
    checkpoint->members.slots[1] = checkpoint->members.slots[0];
    checkpoint->checkpoint.members_checksum = members_checksum(&checkpoint->members);
    expect(!valid_resealed()); /* One incarnation twice. */
}

UNIT_TEST(a_prepare_is_what_its_frame_says)
{
    message_fixture_prepare(frame, 5, 1000);
    struct prepare_header *prepare = message_body(frame);
    expect(valid_resealed());
    frame->op = 6;
    expect(!valid_resealed());
    frame->op = 5;
    frame->cluster += 1;
    expect(!valid_resealed());
    frame->cluster -= 1;
    frame->size += 1;
    expect(!valid_resealed());
    frame->size -= 1;
    prepare->view = 1;
    prepare_seal(prepare);
    expect(!valid_resealed()); /* Made in a later view than it was sent in. */
    frame->view = 1;
    expect(valid_resealed());
    buffer.body[1000] = 1;
    expect(!valid_resealed()); /* P3: what follows it is zero. */
    message_pad(frame);
    expect(valid_resealed());
}

UNIT_TEST(names_are_short_and_plain)
{
    char name[MESSAGE_NAME_SIZE] = "a";
    expect(message_name_valid(name));
    memset(name, 'z', 31);
    expect(message_name_valid(name));
    name[31] = 'z';
    expect(!message_name_valid(name));
    const char wrong[] = {'A', ' ', '.', '/', '\n', (char) 0xc3, '='};
    for (uint32_t i = 0; i < sizeof(wrong); i++) {
        memset(name, 0, sizeof(name));
        name[0] = 'a';
        name[1] = wrong[i];
        expect(!message_name_valid(name));
    }
    memset(name, 0, sizeof(name));
    expect(!message_name_valid(name));
    name[0] = 'a';
    name[5] = 'b';
    expect(!message_name_valid(name));
}

UNIT_TEST(unknown_numbers_have_words_too)
{
    expect(strcmp(message_command_name(MESSAGE_COMMAND_COUNT), "unknown") == 0);
    expect(strcmp(message_command_name(MESSAGE_DO_VIEW_CHANGE), "do_view_change") == 0);
    for (uint32_t reason = 0; reason < 256; reason++) {
        expect(strlen(message_bye_text((uint8_t) reason)) > 0);
    }
}

/* ---- The pool -------------------------------------------------------------------------------- */

static struct message_pool pool;
static uint8_t *memory;

static void
pool_begin(uint32_t small_count, uint32_t large_count)
{
    struct arena arena;
    arena_init_measuring(&arena);
    message_pool_init(&pool, &arena, small_count, large_count);
    const uint64_t size = align_up(arena.used_bytes, ARENA_ALIGNMENT);
    memory = aligned_alloc(ARENA_ALIGNMENT, size);
    assert(memory != NULL);
    memset(memory, 0, size);
    arena_init(&arena, memory, size);
    message_pool_init(&pool, &arena, small_count, large_count);
    arena_seal(&arena);
    message_pool_invariants(&pool);
}

static void
pool_end(void)
{
    message_pool_invariants(&pool);
    expect_equal(message_pool_free_count(&pool, MESSAGE_SMALL), pool.count_max[MESSAGE_SMALL]);
    expect_equal(message_pool_free_count(&pool, MESSAGE_LARGE), pool.count_max[MESSAGE_LARGE]);
    free(memory);
}

UNIT_TEST(an_empty_pool_says_so)
{
    pool_begin(3, 2);
    struct message *small[3];
    struct message *large[2];
    for (uint32_t i = 0; i < 3; i++) {
        small[i] = message_pool_get(&pool, MESSAGE_SMALL);
        expect(small[i] != NULL && (uintptr_t) message_body(small[i]->header) % SECTOR_SIZE == 0);
        memset(message_body(small[i]->header), (int) i, MESSAGE_SMALL_BODY_MAX);
    }
    expect(message_pool_get(&pool, MESSAGE_SMALL) == NULL);
    for (uint32_t i = 0; i < 2; i++) {
        large[i] = message_pool_get(&pool, MESSAGE_LARGE);
        expect(large[i] != NULL && (uintptr_t) message_body(large[i]->header) % SECTOR_SIZE == 0);
        memset(message_body(large[i]->header), 9, MESSAGE_LARGE_BODY_MAX);
    }
    expect(message_pool_get(&pool, MESSAGE_LARGE) == NULL);
    message_pool_invariants(&pool);
    for (uint32_t i = 0; i < 3; i++) {
        const uint8_t *body = message_body(small[i]->header);
        expect(body[0] == i && body[MESSAGE_SMALL_BODY_MAX - 1] == i);
    }
    message_release(&pool, small[1]);
    expect(message_pool_get(&pool, MESSAGE_SMALL) == small[1]);
    for (uint32_t i = 0; i < 3; i++) message_release(&pool, small[i]);
    for (uint32_t i = 0; i < 2; i++) message_release(&pool, large[i]);
    pool_end();
}

UNIT_TEST(the_last_reference_frees)
{
    pool_begin(1, 1);
    struct message *message = message_pool_get(&pool, MESSAGE_LARGE);
    message->header->command = MESSAGE_COMMIT;
    expect(message_reference(message) == message);
    message_release(&pool, message);
    expect(message_pool_get(&pool, MESSAGE_LARGE) == NULL);
    message_pool_invariants(&pool);
    message_release(&pool, message);
    message = message_pool_get(&pool, MESSAGE_LARGE);
    expect_equal(message->header->command, 0);
    message_release(&pool, message);
    pool_end();
}

static void
release_twice(void)
{
    struct message *message = message_pool_get(&pool, MESSAGE_SMALL);
    message_release(&pool, message);
    message_release(&pool, message);
}

UNIT_TEST(a_reference_is_given_back_once)
{
    pool_begin(1, 1);
    expect(aborts(release_twice));
    pool_end();
}

UNIT_MAIN(test_message)
