/* SPDX-License-Identifier: PostgreSQL */
/*
 * An intrusive first-in first-out queue with a name and a bound.
 *
 * The queue owns a link from push to pop. A link is in at most one queue; pop resets it.
 */
#ifndef LEDGER_BASE_QUEUE_H
#define LEDGER_BASE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"

struct queue_link {
    struct queue_link *next;
    bool queued;
};

struct queue {
    const char *name;
    struct queue_link *head;
    struct queue_link *tail;
    uint32_t count;
    uint32_t count_max;
};

static inline void
queue_init(struct queue *queue, const char *name, uint32_t count_max)
{
    assert(count_max > 0);
    *queue = (struct queue){.name = name, .count_max = count_max};
}

static inline bool
queue_empty(const struct queue *queue)
{
    assert((queue->count == 0) == (queue->head == NULL));
    return queue->count == 0;
}

static inline bool
queue_full(const struct queue *queue)
{
    assert(queue->count <= queue->count_max);
    return queue->count == queue->count_max;
}

static inline void
queue_push(struct queue *queue, struct queue_link *link)
{
    assert(!queue_full(queue));
    assert(!link->queued);
    assert(link->next == NULL);
    link->queued = true;
    if (queue->tail == NULL) {
        queue->head = link;
    } else {
        queue->tail->next = link;
    }
    queue->tail = link;
    queue->count += 1;
}

/* Before all others: for free ones, of which the one that was used last is still in the cache. */
static inline void
queue_push_first(struct queue *queue, struct queue_link *link)
{
    assert(!queue_full(queue));
    assert(!link->queued);
    assert(link->next == NULL);
    link->queued = true;
    link->next = queue->head;
    queue->head = link;
    if (queue->tail == NULL) queue->tail = link;
    queue->count += 1;
}

static inline struct queue_link *
queue_peek(const struct queue *queue)
{
    return queue->head;
}

/* The oldest link, or NULL. */
static inline struct queue_link *
queue_pop(struct queue *queue)
{
    struct queue_link *link = queue->head;
    if (link == NULL) return NULL;
    assert(link->queued);
    queue->head = link->next;
    if (queue->head == NULL) queue->tail = NULL;
    queue->count -= 1;
    link->next = NULL;
    link->queued = false;
    return link;
}

#endif
