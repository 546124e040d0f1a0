/* SPDX-License-Identifier: PostgreSQL */
/* See guest.h. */
#include "vsr/guest.h"

#include <string.h>

/* What it is told fits small messages, one at a time; large ones are for members. */
#define GUEST_SMALL 4
#define GUEST_LARGE 1

static void
on_hello(void *context, struct message_header *header)
{
    const struct guest *guest = context;
    struct message_hello *hello = message_body(header);
    char name[MESSAGE_NAME_SIZE]; /* The network knows it. */
    memcpy(name, hello->name, sizeof(name));
    header->sender = MESSAGE_SENDER_GUEST;
    *hello = (struct message_hello){
        .incarnation = guest->incarnation,
        .session = guest->session,
        .fingerprint = CONFIG_FINGERPRINT,
        .prepares_size_bytes = guest->prepares_size_bytes,
        .version_min = MESSAGE_VERSION_MIN,
        .version_max = MESSAGE_VERSION_MAX,
    };
    memcpy(hello->name, name, sizeof(name));
}

static void
on_up(void *context, uint32_t number, const struct message_header *hello)
{
    struct guest *guest = context;
    const struct message_hello *body = message_body_const(hello);
    assert(number < NETWORK_PEERS_MAX);
    if (hello->sender == MESSAGE_SENDER_GUEST) return;
    memcpy(guest->members[number], body->name, MESSAGE_NAME_SIZE);
}

static void
on_down(void *context, uint32_t number, const struct message_header *bye)
{
    struct guest *guest = context;
    assert(number < NETWORK_PEERS_MAX);
    (void) bye;
    memset(guest->members[number], 0, MESSAGE_NAME_SIZE);
}

static void
on_received(void *context, uint32_t number, struct message *message)
{
    struct guest *guest = context;
    const struct message_header *header = message->header;
    const struct message_checkpoint *body = message_body_const(header);
    (void) number;
    const bool welcome = header->command == MESSAGE_CHECKPOINT && header->cluster != 0 &&
                         header->checkpoint_op == 0 && header->as.receiver.slot != 0 &&
                         body->members.slots[0].role == MEMBER_VOTER;
    if (welcome && !guest->welcomed) {
        guest->welcomed = true;
        guest->welcome = (struct guest_welcome){
            .cluster = header->cluster,
            .first_incarnation = body->members.slots[0].incarnation,
            .slot = header->as.receiver.slot,
        };
    }
    message_release(&guest->pool, message);
}

static void
on_sent(void *context, uint32_t number, struct message *message, bool whole)
{
    struct guest *guest = context;
    (void) number;
    (void) whole;
    message_release(&guest->pool, message);
}

static const struct network_callbacks callbacks = {
    .hello = on_hello,
    .up = on_up,
    .down = on_down,
    .received = on_received,
    .sent = on_sent,
};

void
guest_init(struct guest *guest, struct arena *arena, const struct guest_options *options)
{
    assert(options->incarnation != 0 && options->session != 0);
    assert(options->prepares_size_bytes >= PREPARES_SIZE_MIN);
    *guest = (struct guest){
        .network = options->network,
        .incarnation = options->incarnation,
        .session = options->session,
        .prepares_size_bytes = options->prepares_size_bytes,
    };
    message_pool_init(&guest->pool, arena, GUEST_SMALL, GUEST_LARGE);
    options->network->callbacks = &callbacks;
    options->network->context = guest;
    options->network->pool = &guest->pool;
}

bool
guest_poll(struct guest *guest)
{
    (void) network_poll(guest->network);
    return guest->welcomed;
}

const char *
guest_member(const struct guest *guest)
{
    for (uint32_t number = 0; number < NETWORK_PEERS_MAX; number++) {
        if (guest->members[number][0] != '\0') return guest->members[number];
    }
    return NULL;
}
