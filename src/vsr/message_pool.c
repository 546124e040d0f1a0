/* SPDX-License-Identifier: PostgreSQL */
/* See message_pool.h. */
#include "vsr/message_pool.h"

#include <string.h>

#include "base/units.h"

static_assert(MESSAGE_HEADER_SIZE <= SECTOR_SIZE, "the frame lies in the sector before the body");
static_assert(MESSAGE_SMALL_BODY_MAX % SECTOR_SIZE == 0, "bodies are padded to whole sectors");
static_assert(
    sizeof(struct message_start_view_body) + VIEW_HEADERS_MAX * PREPARE_HEADER_SIZE <=
        MESSAGE_SMALL_BODY_MAX,
    "only requests and prepares are large");

static const uint64_t class_body_max[MESSAGE_CLASS_COUNT] = {
    [MESSAGE_SMALL] = MESSAGE_SMALL_BODY_MAX,
    [MESSAGE_LARGE] = MESSAGE_LARGE_BODY_MAX,
};

void
message_pool_init(
    struct message_pool *pool, struct arena *arena, uint32_t small_count, uint32_t large_count)
{
    assert(small_count > 0);
    assert(large_count > 0);
    *pool = (struct message_pool){
        .count_max = {[MESSAGE_SMALL] = small_count, [MESSAGE_LARGE] = large_count},
    };
    const uint32_t count = small_count + large_count;
    pool->messages = arena_take(arena, count, sizeof(struct message), 16);
    uint32_t index = 0;
    for (uint32_t class = 0; class < MESSAGE_CLASS_COUNT; class++) {
        const uint64_t size = SECTOR_SIZE + class_body_max[class];
        uint8_t *buffers = arena_take(arena, pool->count_max[class], size, SECTOR_SIZE);
        queue_init(&pool->free[class], "free messages", pool->count_max[class]);
        if (arena_measuring(arena)) continue;
        for (uint32_t i = 0; i < pool->count_max[class]; i++) {
            struct message *message = &pool->messages[index];
            uint8_t *frame = buffers + i * size + SECTOR_SIZE - MESSAGE_HEADER_SIZE;
            *message = (struct message){
                .header = (struct message_header *) (void *) frame,
                .class = (uint8_t) class,
            };
            queue_push(&pool->free[class], &message->link);
            index += 1;
        }
    }
}

struct message *
message_pool_get(struct message_pool *pool, enum message_class class)
{
    struct queue_link *link = queue_pop(&pool->free[class]);
    if (link == NULL) return NULL;
    struct message *message = container_of(link, struct message, link);
    assert(message->references == 0);
    assert(message->class == class);
    message->references = 1;
    memset(message->header, 0, MESSAGE_HEADER_SIZE);
    return message;
}

void
message_release(struct message_pool *pool, struct message *message)
{
    assert(message->references > 0);
    message->references -= 1;
    if (message->references == 0) queue_push_first(&pool->free[message->class], &message->link);
}

void
message_pool_invariants(const struct message_pool *pool)
{
    uint32_t free[MESSAGE_CLASS_COUNT] = {0};
    const uint32_t count = pool->count_max[MESSAGE_SMALL] + pool->count_max[MESSAGE_LARGE];
    for (uint32_t i = 0; i < count; i++) {
        const struct message *message = &pool->messages[i];
        assert(message->class < MESSAGE_CLASS_COUNT);
        assert(message->link.queued == (message->references == 0));
        free[message->class] += message->references == 0;
    }
    for (uint32_t class = 0; class < MESSAGE_CLASS_COUNT; class++) {
        assert(free[class] == pool->free[class].count);
    }
}
