/* SPDX-License-Identifier: PostgreSQL */
#include "pg/monitor_shared.h"

#include "miscadmin.h"

#include "pg/shared.h"

/*
 * If a change happens during a copy, the copy is repeated: this often at once, later after a pause.
 */
#define MONITOR_SPINS    100
#define MONITOR_PAUSE_US 100

void
monitor_init(struct monitor_board *board)
{
    memset(&board->monitor, 0, sizeof(board->monitor));
    pg_atomic_init_u32(&board->changes, 0);
}

/* Copies `size` bytes at `offset` of the board, as they were at one moment. */
static void
monitor_copy(void *copy, Size offset, Size size)
{
    struct monitor_board *board = &shared->board;
    assert(offset + size <= sizeof(board->monitor));
    int tries = 0;
    for (;;) {
        const uint32 before = pg_atomic_read_u32(&board->changes);
        pg_read_barrier();
        memcpy(copy, (const char *) &board->monitor + offset, size);
        pg_read_barrier();
        if (before % 2 == 0 && pg_atomic_read_u32(&board->changes) == before) return;
        CHECK_FOR_INTERRUPTS();
        /* The writer may have lost its processor in the middle of a change. */
        tries += 1;
        if (tries < MONITOR_SPINS) {
            pg_spin_delay();
        } else {
            pg_usleep(MONITOR_PAUSE_US);
        }
    }
}

bool
monitor_get(struct monitor *monitor)
{
    if (shared == NULL) return false;
    monitor_copy(monitor, 0, sizeof(*monitor));
    return true;
}

bool
monitor_refusal_get(struct refusal *refusal)
{
    if (shared == NULL) return false;
    monitor_copy(refusal, offsetof(struct monitor, refusal), sizeof(*refusal));
    return true;
}

bool
monitor_state_get(struct engine_state *state)
{
    TimestampTz published_at;
    if (shared == NULL) return false;
    monitor_copy(&published_at, offsetof(struct monitor, published_at), sizeof(published_at));
    if (published_at == 0) return false;
    monitor_copy(state, offsetof(struct monitor, state), sizeof(*state));
    return true;
}

const struct engine_member *
monitor_self(const struct engine_cluster *cluster)
{
    for (uint32 i = 0; i < cluster->count; i++) {
        if (cluster->members[i].self) return &cluster->members[i];
    }
    return NULL;
}

bool
monitor_is_member(const struct engine_cluster *cluster)
{
    return monitor_self(cluster) != NULL;
}

bool
monitor_is_primary(const struct engine_cluster *cluster)
{
    return cluster->primary >= 0 && cluster->members[cluster->primary].self;
}

bool
monitor_lacks_room(const struct engine_cluster *cluster)
{
    const struct engine_member *self = monitor_self(cluster);
    return self != NULL && self->state == ENGINE_MEMBER_NO_ROOM;
}

struct monitor *
monitor_change_begin(struct monitor_board *board)
{
    const uint32 changes = pg_atomic_read_u32(&board->changes);
    assert(changes % 2 == 0);
    pg_atomic_write_u32(&board->changes, changes + 1);
    pg_memory_barrier();
    return &board->monitor;
}

void
monitor_change_end(struct monitor_board *board)
{
    const uint32 changes = pg_atomic_read_u32(&board->changes);
    assert(changes % 2 == 1);
    pg_memory_barrier();
    pg_atomic_write_u32(&board->changes, changes + 1);
}
