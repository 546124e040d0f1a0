/* SPDX-License-Identifier: PostgreSQL */
/*
 * Three members on a simulated network (trio_fixture.h), one of which gets an older copy of its
 * directory: (V16) … (V22) of vsr/fences.h.
 */
#include "store/superblock_internal.h"
#include "unit/trio_fixture.h"
#include "unit/unit.h"

/* A disk as it was at some time. */
struct image {
    uint8_t *bytes[STORAGE_FILE_COUNT];
    uint64_t size_bytes[STORAGE_FILE_COUNT];
};

static struct image
image_take(uint32_t number)
{
    struct image image = {0};
    for (uint32_t file = 0; file < STORAGE_FILE_COUNT; file++) {
        const struct storage_sim_file *from = &trio.nodes[number].disk.files[file];
        image.size_bytes[file] = from->size_bytes;
        if (from->size_bytes == 0) continue;
        image.bytes[file] = malloc(from->size_bytes);
        assert(image.bytes[file] != NULL);
        memcpy(image.bytes[file], from->bytes, from->size_bytes);
    }
    return image;
}

/* The node is down. */
static void
image_put_back(uint32_t number, const struct image *image)
{
    struct trio_node *node = &trio.nodes[number];
    struct storage_sim_options options = node->disk.options;
    assert(node->engine == NULL);
    memcpy(options.file_size_bytes, image->size_bytes, sizeof(options.file_size_bytes));
    storage_sim_free(&node->disk);
    storage_sim_init(&node->disk, &options, &node->prng);
    for (uint32_t file = 0; file < STORAGE_FILE_COUNT; file++) {
        if (image->size_bytes[file] == 0) continue;
        memcpy(node->disk.files[file].bytes, image->bytes[file], image->size_bytes[file]);
    }
}

static void
image_free(struct image *image)
{
    for (uint32_t file = 0; file < STORAGE_FILE_COUNT; file++) free(image->bytes[file]);
}

static const struct member *
member_at(uint32_t judge, uint32_t number)
{
    return &trio_replica(judge)->membership->committed.slots[trio_slot(number)];
}

static bool
records_done(uint64_t after)
{
    for (uint32_t judge = 0; judge < TRIO_NODES; judge++) {
        if (trio.nodes[judge].engine == NULL) continue;
        const struct replica_fences *fences = trio_replica(judge)->fences;
        if (fences->events_served < fences->events || fences->noting || fences->note_due) {
            return false;
        }
        for (uint32_t number = 0; number < TRIO_NODES; number++) {
            if (trio.nodes[number].engine == NULL) continue;
            if (member_at(judge, number)->record_op <= after) return false;
            if (member_at(judge, number)->record_op != trio_replica(number)->fences->record_op) {
                return false;
            }
        }
    }
    return true;
}

/* All who work have their records, later than that op. */
static void
await_records(uint64_t after)
{
    for (uint32_t i = 0; i < TRIO_PATIENCE_MS && !records_done(after); i++) trio_step();
    expect(records_done(after));
}

static void
begin(uint64_t seed)
{
    trio.fenced = true;
    trio_begin(NETWORK_SIM_STREAMS, seed);
    await_records(0);
}

static void
end(void)
{
    trio_end();
    trio.fenced = false;
}

static bool
marked_over(uint32_t number)
{
    return (trio.nodes[number].engine->superblock.working->flags & SUPERBLOCK_OVER) != 0;
}

/* ---- Records --------------------------------------------------------------------------------- */

UNIT_TEST(v17_each_start_and_each_checkpoint_is_served_by_a_fence_drawn_after_it)
{
    begin(1);
    const struct replica_fences *fences = trio_replica(1)->fences;
    expect_equal(fences->events, 1);
    const uint64_t first = fences->fence;
    expect(first != 0 && fences->fence_next == 0);
    expect_equal(trio.nodes[1].engine->superblock.working->fence, first);
    /* A fence that a former life has drawn, and that may be in the log, is asked for, and more. */
    trio_stop(1);
    trio_isolate(1, true);
    trio_start(1);
    const uint64_t asked = trio_replica(1)->fences->fence_next;
    expect(asked != 0 && asked != first);
    trio_steps(300);
    trio_stop(1);
    trio_start(1);
    expect_equal(trio_replica(1)->fences->fence_next, asked);
    trio_isolate(1, false);
    fences = trio_replica(1)->fences;
    for (uint32_t i = 0; i < 20000 && fences->events_served == 0; i++) trio_step();
    expect_equal(fences->events_served, 1);
    expect(fences->fence != asked && fences->fence != first);
    await_records(0);
    const uint64_t op = trio_commit(TRIO_PRIMARY);
    expect_equal(trio_replica(1)->stats.checkpoints, 0);
    trio_create_many(TRIO_PRIMARY, 40, 1);
    await_records(op);
    for (uint32_t i = 0; i < TRIO_NODES; i++) {
        expect(trio_replica(i)->stats.checkpoints >= 1);
        expect(trio_replica(i)->fences->events_served >= 1);
    }
    /* Records of a checkpoint make no next one. */
    const uint64_t checkpoints = trio_replica(1)->stats.checkpoints;
    const uint64_t head = trio_commit(TRIO_PRIMARY);
    trio_steps(3000);
    expect_equal(trio_commit(TRIO_PRIMARY), head);
    expect_equal(trio_replica(1)->stats.checkpoints, checkpoints);
    end();
}

/* ---- Copies ---------------------------------------------------------------------------------- */

/* An image of a stopped directory is put back after a later start, and started again and again. */
UNIT_TEST(v16_an_older_copy_is_refused_however_often_it_starts)
{
    begin(2);
    trio_create_many(TRIO_PRIMARY, 3, 1);
    trio_stop(1);
    struct image image = image_take(1);
    trio_start(1);
    await_records(0);
    trio_create_many(1, 3, 1);
    trio_expect_rest(6);
    trio_stop(1);
    image_put_back(1, &image);
    trio.nodes[1].may_fail = true;
    /* It begins to say hello, and loses its power, at another moment each time. */
    for (uint32_t i = 0; i < 12; i++) {
        if (trio_open(1) == ENGINE_OPEN_OVER) break;
        trio_steps(1 + i);
        const struct replica_peer *peer = &trio_replica(TRIO_PRIMARY)->peers[trio_slot(1)];
        expect(peer->session != trio.nodes[1].session);
        trio_stop(1);
    }
    if (trio.nodes[1].engine == NULL) (void) trio_open(1);
    for (uint32_t i = 0; i < 20000 && !marked_over(1); i++) trio_step();
    expect(marked_over(1));
    expect(engine_failed_as_copy(trio.nodes[1].engine));
    trio_stop(1);
    expect_equal(trio_open(1), ENGINE_OPEN_OVER);
    trio_stop(1);
    trio_create_many(TRIO_PRIMARY, 3, 1); /* The others go on. */
    trio_expect_rest(9);
    image_free(&image);
    end();
}

/* The copy is needed for a quorum: nothing is answered rather than something wrong. */
UNIT_TEST(v16_a_copy_is_no_quorum)
{
    begin(3);
    trio_create_many(TRIO_PRIMARY, 2, 1);
    trio_stop(1);
    struct image image = image_take(1);
    trio_start(1);
    await_records(0);
    trio_create_many(TRIO_PRIMARY, 2, 1);
    trio_expect_rest(4);
    trio_stop(2);
    trio_stop(1);
    image_put_back(1, &image);
    trio.nodes[1].may_fail = true;
    const uint64_t commit = trio_commit(TRIO_PRIMARY);
    trio_start(1);
    const struct trio_asked *request = trio_create(TRIO_PRIMARY, 1);
    trio_steps(3000);
    expect_equal(request->answers, 0);
    expect_equal(trio_commit(TRIO_PRIMARY), commit);
    expect(marked_over(1));
    trio_start(2);
    expect(trio_answered_within(request, 20000));
    image_free(&image);
    end();
}

/* What others know survives their restarts, although nothing follows the record in the log. */
UNIT_TEST(v16_who_was_restarted_still_knows)
{
    begin(4);
    trio_create_many(TRIO_PRIMARY, 2, 1);
    trio_stop(1);
    struct image image = image_take(1);
    trio_start(1);
    await_records(0);
    for (uint32_t i = 0; i < TRIO_NODES; i++) trio_stop(i);
    image_put_back(1, &image);
    trio.nodes[1].may_fail = true;
    trio.elected = false;
    for (uint32_t i = 0; i < TRIO_NODES; i++) trio_start(i);
    for (uint32_t i = 0; i < 20000 && !marked_over(1); i++) trio_step();
    expect(marked_over(1));
    image_free(&image);
    end();
}

/* All of them, from one set: nobody knows better. */
UNIT_TEST(all_members_restored_from_one_set_go_on)
{
    struct image images[TRIO_NODES];
    begin(5);
    trio_create_many(TRIO_PRIMARY, 3, 1);
    trio_expect_rest(3);
    for (uint32_t i = 0; i < TRIO_NODES; i++) {
        trio_stop(i);
        images[i] = image_take(i);
    }
    trio.elected = false;
    for (uint32_t i = 0; i < TRIO_NODES; i++) trio_start(i);
    for (uint32_t i = 0; i < 20000 && !records_done(0); i++) trio_step();
    for (uint32_t i = 0; i < TRIO_NODES; i++) trio_stop(i);
    for (uint32_t i = 0; i < TRIO_NODES; i++) image_put_back(i, &images[i]);
    for (uint32_t i = 0; i < TRIO_NODES; i++) trio_start(i);
    const struct trio_asked *request = trio_create(2, 1);
    expect(trio_answered_within(request, 20000));
    expect(trio_created(request));
    for (uint32_t i = 0; i < TRIO_NODES; i++) {
        expect(!trio_replica(i)->fences->over);
        image_free(&images[i]);
    }
    end();
}

/* Its checkpoint tells of a record that its own superblock didn't ask for. */
UNIT_TEST(v18_a_checkpoint_judges_who_opens_it)
{
    for (uint32_t i = 0; i < 2; i++) {
        begin(6 + i);
        trio_replica(1)->fences->seed = 0; /* No record follows the checkpoint. */
        trio_create_many(TRIO_PRIMARY, 40, 1);
        trio_expect_rest(40);
        trio_stop(1);
        uint8_t *bytes = storage_sim_bytes(&trio.nodes[1].disk, STORAGE_SUPERBLOCK);
        for (uint32_t copy = 0; copy < SUPERBLOCK_COPIES; copy++) {
            struct superblock_state *state =
                (struct superblock_state *) (void *) (bytes + superblock_copy_offset_bytes(copy));
            const struct member *self = &state->members.slots[state->slot];
            expect(self->record_op > 0 && state->record_op == self->record_op);
            state->record_op = 0;
            state->fence = 0;
            /* What it asked for is in the log; or it isn't what is there. */
            state->fence_next = self->fence + i;
            state->checksum = superblock_checksum(state);
        }
        const enum engine_open_result result = trio_open(1);
        expect_equal(result, i == 0 ? ENGINE_OPENED : ENGINE_OPEN_OVER);
        expect_equal(marked_over(1), i == 1);
        end();
    }
}

/* ---- Hellos ---------------------------------------------------------------------------------- */

/* A hello that was long on its way is refused, and its sender goes on. */
UNIT_TEST(v21_a_late_hello_ends_no_member)
{
    struct {
        struct message_header header;
        struct message_hello hello;
    } late = {.hello.name = "b"};
    begin(8);
    struct network *network = network_sim_of(&trio.net, 1);
    network->callbacks->hello(network->context, &late.header);
    const uint64_t op = trio_commit(TRIO_PRIMARY);
    trio_create_many(TRIO_PRIMARY, 40, 1);
    await_records(op);
    network = network_sim_of(&trio.net, TRIO_PRIMARY);
    network->callbacks->up(network->context, 1, &late.header);
    expect(!network->peers[1].up);
    trio_steps(2000);
    expect(!trio_replica(1)->fences->over);
    for (uint32_t i = 0; i < 20000 && !trio_connected(TRIO_PRIMARY, 1); i++) trio_step();
    expect(trio_answered_within(trio_create(1, 1), 20000));
    expect(!trio_replica(TRIO_PRIMARY)->peers[trio_slot(1)].refused);
    end();
}

/* It is the primary, and in the middle of its work: nothing of that goes on. */
UNIT_TEST(v21_a_primary_that_is_over_stops)
{
    struct {
        struct message_header header;
        struct message_bye bye;
    } said = {.bye.reason = MESSAGE_BYE_FENCE};
    begin(10);
    struct replica *primary = trio_replica(TRIO_PRIMARY);
    trio.nodes[TRIO_PRIMARY].may_fail = true;
    said.bye.known = primary->fences->heard[primary->slot];
    said.bye.known.record_op += 1;
    said.bye.known.fence += 1;
    const struct trio_asked *asked[] = {trio_create(TRIO_PRIMARY, 1), trio_create(1, 1)};
    trio_steps(1);
    struct network *network = network_sim_of(&trio.net, TRIO_PRIMARY);
    network->callbacks->down(network->context, 1, &said.header);
    expect_equal(primary->status, REPLICA_STOPPED);
    expect(!engine_failed(trio.nodes[TRIO_PRIMARY].engine)); /* Its superblock isn't told yet. */
    for (uint32_t i = 0; i < TRIO_PATIENCE_MS && !marked_over(TRIO_PRIMARY); i++) trio_step();
    expect(engine_failed_as_copy(trio.nodes[TRIO_PRIMARY].engine));
    expect_equal(asked[0]->request.status, ENGINE_FAILED);
    trio_stop(TRIO_PRIMARY);
    trio_hurry(1);
    trio_hurry(2);
    expect(trio_answered_within(asked[1], 20000)); /* The others go on. */
    end();
}

UNIT_TEST(v22_what_was_heard_of_a_former_member_is_forgotten)
{
    begin(9);
    struct replica *replica = trio_replica(TRIO_PRIMARY);
    const uint8_t slot = trio_slot(1);
    const struct superblock_heard nothing = {0};
    expect(replica->fences->heard[slot].record_op > 0);
    expect(replica->fences->heard[slot].view > 0);
    replica->updates->view.node.heard[slot] = replica->fences->heard[slot];
    replica_fences_forget(replica, slot);
    expect(memcmp(&replica->fences->heard[slot], &nothing, sizeof(nothing)) == 0);
    expect(memcmp(&replica->updates->view.node.heard[slot], &nothing, sizeof(nothing)) == 0);
    end();
}

UNIT_MAIN(test_replica_fences)
