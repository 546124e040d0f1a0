/* SPDX-License-Identifier: PostgreSQL */
/* See sessions.h. */
#include "vsr/sessions.h"

#include <stddef.h>

#include "base/assert.h"

bool
sessions_valid(const struct sessions *sessions)
{
    assert(sessions != NULL);
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        const struct session *session = &sessions->slots[slot];
        if (session->session == 0 && session->number != 0) return false;
    }
    return true;
}

void
sessions_begin(struct sessions *sessions, uint8_t slot, uint64_t session)
{
    assert(slot < MEMBERS_MAX);
    assert(session != 0);
    struct session *newest = &sessions->slots[slot];
    if (session <= newest->session) return;
    *newest = (struct session){.session = session};
}

bool
sessions_accepts(
    const struct sessions *sessions, uint8_t slot, uint64_t session, uint64_t first)
{
    assert(slot < MEMBERS_MAX);
    assert(session != 0);
    const struct session *newest = &sessions->slots[slot];
    return session == newest->session && first > newest->number;
}

bool
sessions_precede(
    const struct sessions *sessions, uint8_t slot, uint64_t session, uint64_t first)
{
    assert(slot < MEMBERS_MAX);
    assert(session != 0);
    const struct session *newest = &sessions->slots[slot];
    if (session < newest->session) return false;
    return first > (session == newest->session ? newest->number : 0);
}

void
sessions_take(struct sessions *sessions, uint8_t slot, uint64_t session, uint64_t last)
{
    assert(sessions_precede(sessions, slot, session, last));
    sessions->slots[slot] = (struct session){.session = session, .number = last};
    assert(sessions_valid(sessions));
}
