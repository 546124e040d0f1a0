/* SPDX-License-Identifier: PostgreSQL */
/*
 * Requests, on their way from who asks to the primary.
 *
 *                      this replica is a backup              it is the primary
 *     submitted        `requests`                            `requests`
 *     has a number     `outstanding`, and a message           `outstanding`, in a prepare
 *                       → the primary's queue of this slot
 *     executed here    answered                              answered
 *
 * A request gets its number when it is sent or prepared, so the numbers of `outstanding` ascend,
 * and so they do in the log (V9). Nothing tells a backup that a request has arrived, but that it is
 * executed. When the connection to the primary is new, or nothing was executed for long, all of
 * them are sent again under the same numbers; the primary ignores what it has taken already. If one
 * with a higher number is executed first, the lower ones were overtaken: they never execute
 * (sessions.h), so they get new numbers.
 *
 * A backup that is told that there is no room (`refuse`) answers so: the primary has taken the
 * number for used before it said that, so the request can't execute later (V14).
 *
 * A request needn't wait for ever where there is no working primary (replica_led): after its time
 * it is answered, without a result (R13).
 *
 * A backup has no more than REPLICA_REQUESTS_PER_PEER messages on their way, of which no request
 * was executed; what comes meanwhile goes together into the next one.
 */
#include <string.h>

#include "vsr/replica_internal.h"

/* ---- Submitting ------------------------------------------------------------------------------ */

static struct replica_request *
request_of(struct queue_link *link)
{
    return link == NULL ? NULL : container_of(link, struct replica_request, link);
}

/* The oldest request that has no number, or NULL. */
static struct replica_request *
oldest_waiting(const struct replica *replica)
{
    return request_of(queue_peek(&replica->requests));
}

void
replica_submit(struct replica *replica, struct replica_request *request)
{
    assert(replica->status != REPLICA_CLOSED && replica->status != REPLICA_RECOVERING);
    assert(request->event_count > 0);
    assert(request->event_count <= EVENTS_PER_BATCH_MAX);
    assert(request->callback != NULL);
    queue_push(&replica->requests, &request->link);
}

/* Takes the oldest request that has no number, and gives it one. */
static struct replica_request *
number_oldest(struct replica *replica)
{
    struct replica_request *request = replica_pop_request(&replica->requests);
    replica->number += 1;
    request->number = replica->number;
    queue_push(&replica->outstanding, &request->link);
    return request;
}

/* Are the batches of an origin, which is this session, what was asked under their numbers? */
static bool
origin_matches(
    const struct replica *replica,
    const struct multi_batch_origin *origin,
    const struct multi_batch_entry *entries)
{
    const uint64_t first = origin->number - origin->batch_count + 1;
    const struct queue_link *link = queue_peek(&replica->outstanding);
    if (origin->number > replica->number) return false;
    for (; link != NULL; link = link->next) {
        const struct replica_request *request =
            container_of(link, const struct replica_request, link);
        if (request->number < first) continue;
        if (request->number > origin->number) break;
        const struct multi_batch_entry *entry = &entries[request->number - first];
        if (entry->operation != request->operation) return false;
        if (entry->event_count != request->event_count) return false;
    }
    return true;
}

bool
replica_requests_match(const struct replica *replica, const struct multi_batch_reader *reader)
{
    uint32_t batch = 0;
    for (uint32_t i = 0; i < reader->origin_count; i++) {
        const struct multi_batch_origin *origin = &reader->origins[i];
        if (origin->slot == replica->slot && origin->session == replica->session) {
            return origin_matches(replica, origin, &reader->entries[batch]);
        }
        batch += origin->batch_count;
    }
    return true;
}

struct replica_request *
replica_requests_find(
    struct replica *replica,
    const struct multi_batch_source *source,
    const struct state_machine_batch *batch)
{
    assert(source->slot == replica->slot);
    for (;;) {
        struct replica_request *request = request_of(queue_peek(&replica->outstanding));
        if (request == NULL || request->number > source->number) return NULL;
        if (request->number == source->number) {
            /* replica_requests_match has compared them before the op began. */
            assert(request->operation == batch->operation);
            assert(request->event_count == batch->event_count);
            if (replica->unsent == request) replica->unsent = request_of(request->link.next);
            return request;
        }
        if (replica->unsent == request) replica->unsent = request_of(request->link.next);
        (void) replica_pop_request(&replica->outstanding);
        queue_push(&replica->requests, &request->link);
    }
}

/* ---- A backup's way to the primary ----------------------------------------------------------- */

void
replica_requests_unsend(struct replica *replica)
{
    replica->unsent = request_of(queue_peek(&replica->outstanding));
    memset(replica->sent_last, 0, sizeof(replica->sent_last));
    replica->resend_ns = clock_monotonic_ns(replica->clock) + REPLICA_RESEND_NS;
}

/* May one more message be on its way? */
static bool
can_send(const struct replica *replica, const struct replica_peer *peer)
{
    const struct network_peer *connection = &replica->network->peers[peer->number];
    const struct replica_request *oldest = request_of(queue_peek(&replica->outstanding));
    const uint64_t last = replica->sent_last[replica->sent_count % REPLICA_REQUESTS_PER_PEER];
    if (oldest != NULL && last >= oldest->number) return false;
    if (connection->queued_large >= REPLICA_LARGE_PER_PEER) return false;
    return connection->queued < NETWORK_QUEUE_MAX;
}

static void
add_batch(struct replica *replica, const struct replica_request *request)
{
    const struct multi_batch_source source = {
        .slot = replica->slot,
        .session = replica->session,
        .number = request->number,
    };
    const struct state_machine_batch batch = {
        .operation = request->operation,
        .event_count = request->event_count,
        .record_count = request->event_count,
        .events = request->events,
    };
    multi_batch_add(&replica->writer, &source, &batch);
}

static bool
fits(const struct replica *replica, const struct replica_request *request)
{
    const struct multi_batch_sums sums = {request->event_count, request->event_count};
    return multi_batch_fits(&replica->writer, sums);
}

/*
 * The next request to be sent, numbered. NULL: there is none, or it doesn't fit any more, or it has
 * another number than `expected` (0: any will do), for some before it were refused.
 */
static struct replica_request *
next_to_send(struct replica *replica, uint64_t expected)
{
    struct replica_request *request = replica->unsent;
    const uint64_t number = request != NULL ? request->number : replica->number + 1;
    if (request == NULL) request = oldest_waiting(replica);
    if (request == NULL || !fits(replica, request)) return NULL;
    if (expected != 0 && number != expected) return NULL;
    if (replica->unsent == NULL) return number_oldest(replica);
    replica->unsent = request_of(request->link.next);
    return request;
}

/* Puts as many requests as fit into one message, and sends it. */
static void
send_some(struct replica *replica, struct message *message)
{
    struct message_header *header = message->header;
    struct multi_batch_writer *writer = &replica->writer;
    uint8_t *body = message_body(header);
    memset(body, 0, PREPARE_HEADER_SIZE);
    multi_batch_begin(writer, body + PREPARE_HEADER_SIZE);
    uint64_t first = 0;
    for (;;) {
        const uint64_t expected = first == 0 ? 0 : first + writer->batch_count;
        const struct replica_request *request = next_to_send(replica, expected);
        if (request == NULL) break;
        if (first == 0) first = request->number;
        add_batch(replica, request);
    }
    assert(first > 0);
    header->cluster = replica->superblock->working->cluster;
    header->size = MESSAGE_HEADER_SIZE + PREPARE_HEADER_SIZE + multi_batch_end(writer);
    header->view = replica->view;
    header->command = MESSAGE_REQUEST;
    header->sender = replica->slot;
    header->as.numbers = (struct message_numbers){
        .session = replica->session,
        .number = first,
        .count = writer->batch_count,
    };
    replica->sent_last[replica->sent_count % REPLICA_REQUESTS_PER_PEER] =
        first + writer->batch_count - 1;
    replica->sent_count += 1;
    replica->resend_ns = clock_monotonic_ns(replica->clock) + REPLICA_RESEND_NS;
    /* If it gets lost, it is sent again with all others. */
    (void) replica_send(replica, replica_primary_slot(replica), message);
}

bool
replica_requests_send(struct replica *replica)
{
    const struct replica_peer *peer = &replica->peers[replica_primary_slot(replica)];
    assert(replica_backup(replica));
    /* Nothing is sent to a primary that isn't heard, so what waits can be given up for certain. */
    if (!peer->up || !replica_led(replica)) return false;
    const uint64_t now = clock_monotonic_ns(replica->clock);
    if (now >= replica->resend_ns && !queue_empty(&replica->outstanding)) {
        replica_requests_unsend(replica);
    }
    bool progress = false;
    while (replica->unsent != NULL || !queue_empty(&replica->requests)) {
        if (!can_send(replica, peer)) break;
        struct message *message = message_pool_get(&replica->pool, MESSAGE_LARGE);
        if (message == NULL) break;
        send_some(replica, message);
        progress = true;
    }
    return progress;
}

/* The oldest outstanding request with this number or a higher one is the oldest unsent one. */
static void
unsent_from(struct replica *replica, uint64_t number)
{
    struct queue_link *link = queue_peek(&replica->outstanding);
    while (link != NULL && request_of(link)->number < number) link = link->next;
    replica->unsent = request_of(link);
}

/* Answers the request of this number, which is outstanding, and which was refused. */
static void
answer_refused(struct replica *replica, uint64_t number, enum replica_outcome outcome)
{
    struct queue rest;
    struct replica_request *refused = NULL;
    queue_init(&rest, replica->outstanding.name, replica->outstanding.count_max);
    while (!queue_empty(&replica->outstanding)) {
        struct replica_request *request = replica_pop_request(&replica->outstanding);
        if (request->number == number) {
            refused = request;
        } else {
            queue_push(&rest, &request->link);
        }
    }
    replica->outstanding = rest;
    if (refused != NULL) refused->callback(refused, outcome);
}

void
replica_on_refuse(struct replica *replica, const struct message_header *header)
{
    const struct message_numbers *numbers = &header->as.numbers;
    const bool mine = replica_backup(replica) && header->view == replica->view &&
                      header->sender == replica_primary_slot(replica) &&
                      numbers->session == replica->session;
    if (!mine || (header->flags & MESSAGE_NOT_PRIMARY) != 0) return;
    const enum replica_outcome outcome =
        numbers->reason == MESSAGE_REFUSE_DISK ? REPLICA_DISK_FULL : REPLICA_MEMORY_FULL;
    const uint64_t unsent = replica->unsent == NULL ? UINT64_MAX : replica->unsent->number;
    for (uint32_t i = 0; i < numbers->count; i++) {
        answer_refused(replica, numbers->number + i, outcome);
    }
    /* The oldest unsent one may be among them. */
    unsent_from(replica, unsent);
}

/* ---- Giving up ------------------------------------------------------------------------------- */

/* Answers those of the queue whose time is over. The others stay, in their order. */
static void
give_up(struct replica *replica, struct queue *requests, enum replica_outcome outcome)
{
    const uint64_t now = clock_monotonic_ns(replica->clock);
    for (uint32_t left = requests->count; left > 0; left--) {
        struct replica_request *request = replica_pop_request(requests);
        if (request->deadline_ns == 0 || now < request->deadline_ns) {
            queue_push(requests, &request->link);
        } else {
            request->callback(request, outcome);
        }
    }
}

/*
 * (R13) Who had no number was never sent, and is forgotten. Who had one may be in somebody's log,
 * or still on its way. If its batch executes, nobody is found who waits for it (R8), as for those
 * of an earlier life; it isn't sent again, so its number may as well be overtaken.
 */
void
replica_requests_give_up(struct replica *replica)
{
    const uint64_t unsent = replica->unsent == NULL ? UINT64_MAX : replica->unsent->number;
    if (!replica_calls_wait(replica)) return;
    give_up(replica, &replica->requests, REPLICA_NO_QUORUM);
    give_up(replica, &replica->outstanding, REPLICA_UNKNOWN);
    unsent_from(replica, unsent);
}

/* ---- The primary ----------------------------------------------------------------------------- */

/*
 * Opens the batches of a request that has come. False: no member of this version sends it.
 */
static bool
request_open(
    const struct replica *replica,
    uint8_t slot,
    const struct message_header *header,
    struct multi_batch_reader *reader)
{
    const struct message_numbers *numbers = &header->as.numbers;
    const uint8_t *body = (const uint8_t *) message_body_const(header) + PREPARE_HEADER_SIZE;
    const uint32_t size = header->size - MESSAGE_HEADER_SIZE - PREPARE_HEADER_SIZE;
    struct state_machine *machine = replica->machine;
    if (!multi_batch_open_unstamped(reader, body, size)) return false;
    if (reader->origin_count != 1 || reader->batch_count != numbers->count) return false;
    const struct multi_batch_origin *origin = &reader->origins[0];
    if (origin->slot != slot || origin->session != numbers->session) return false;
    if (origin->number != numbers->number + numbers->count - 1) return false;
    for (uint32_t i = 0; i < reader->batch_count; i++) {
        const struct multi_batch_entry *entry = &reader->entries[i];
        if (!machine->ops->batch_valid(
                machine, entry->operation, entry->event_count, entry->record_count)) {
            return false;
        }
    }
    return true;
}

/* May it be taken, as far as its numbers go (V9)? */
static bool
accepts(const struct replica *replica, uint8_t slot, const struct message_header *header)
{
    const struct message_numbers *numbers = &header->as.numbers;
    return header->view == replica->view &&
           sessions_accepts(&replica->accepted, slot, numbers->session, numbers->number);
}

/* Sends a refusal. If it gets lost, it is sent again when the requests come again. */
static void
say_refuse(struct replica *replica, uint8_t slot, const struct message_numbers *numbers)
{
    struct message *message = replica_message_new(replica, MESSAGE_REFUSE);
    if (message == NULL) return;
    message->header->as.numbers = *numbers;
    message->header->as.numbers.reason = replica->peers[slot].refused_reason;
    (void) replica_send(replica, slot, message);
}

void
replica_requests_begin(struct replica *replica, uint8_t slot)
{
    const struct replica_peer *peer = &replica->peers[slot];
    assert(replica->serving);
    sessions_begin(&replica->accepted, slot, peer->session);
}

/*
 * Requests that aren't accepted have come. If they were refused before, and not just taken, the
 * member hasn't heard it, and would ask for ever. What follows them comes again by itself.
 */
static void
refuse_again(struct replica *replica, uint8_t slot, const struct message_header *header)
{
    const struct replica_peer *peer = &replica->peers[slot];
    const struct session *accepted = &replica->accepted.slots[slot];
    struct message_numbers numbers = header->as.numbers;
    if (!replica->serving || header->view != replica->view) return;
    if (numbers.session != accepted->session || numbers.number > accepted->number) return;
    if (peer->refused_first == 0 || peer->refused_view != replica->view) return;
    if (numbers.number < peer->refused_first) return;
    const uint64_t refused = accepted->number - numbers.number + 1;
    numbers.count = (uint32_t) min_u64(numbers.count, refused);
    say_refuse(replica, slot, &numbers);
}

void
replica_on_request(struct replica *replica, uint8_t slot, struct message *message)
{
    struct multi_batch_reader reader;
    struct queue *waiting = &replica->peers[slot].requests;
    /* Nothing of who was removed comes into the log behind that (V9). */
    const bool member = replica->membership->now.slots[slot].role != MEMBER_NONE;
    /* A primary that doesn't serve yet can't tell which numbers are taken. It looks again later. */
    const bool taken = replica->primary && member && message->header->view == replica->view &&
                       (!replica->serving || accepts(replica, slot, message->header)) &&
                       waiting->count < REPLICA_REQUESTS_PER_PEER &&
                       request_open(replica, slot, message->header, &reader);
    if (taken) {
        queue_push(waiting, &message->link);
    } else {
        refuse_again(replica, slot, message->header);
        message_release(&replica->pool, message);
    }
}

void
replica_requests_drop(struct replica *replica, uint8_t slot)
{
    struct queue *waiting = &replica->peers[slot].requests;
    while (!queue_empty(waiting)) {
        struct queue_link *link = queue_pop(waiting);
        message_release(&replica->pool, container_of(link, struct message, link));
    }
}

bool
replica_requests_wait(const struct replica *replica)
{
    if (!queue_empty(&replica->requests) || replica->unsent != NULL) return true;
    if (replica->network == NULL) return false;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if (!queue_empty(&replica->peers[slot].requests)) return true;
    }
    return false;
}

/* Is there room for so many events more than are in the pipeline and in the prepare being made? */
static enum forest_room
room_for(struct replica *replica, uint32_t event_count)
{
    const uint64_t before = replica->pipeline_events + replica->writer.sums.event_count;
    const enum forest_room room = forest_reserve(replica->forest, before + event_count);
    if (room == FOREST_IO_ERROR) replica_stop(replica);
    return room;
}

/* There is no room for this one of the own requests, which is in no prepare of this view. */
static void
refuse_own(struct replica *replica, struct replica_request *request, enum forest_room room)
{
    const enum replica_outcome outcome =
        room == FOREST_DISK_FULL ? REPLICA_DISK_FULL : REPLICA_MEMORY_FULL;
    if (request != replica->unsent) {
        (void) replica_pop_request(&replica->requests);
        request->callback(request, outcome);
        return;
    }
    /* An older view's primary was sent it, so its number is used now (V14). */
    const uint64_t number = request->number;
    sessions_take(&replica->accepted, replica->slot, replica->session, number);
    replica->unsent = request_of(request->link.next);
    answer_refused(replica, number, outcome);
}

/*
 * Takes this replica's own requests. Those that there is no room for are answered, and those taken
 * before them go on without them. Most get their numbers only now, so that those of a prepare are
 * consecutive, whichever were refused between them. Those that an older view's primary was sent,
 * and that aren't in the log, keep theirs: that log may yet come back.
 */
static bool
take_own(struct replica *replica)
{
    bool progress = false;
    uint64_t last = 0;
    for (;;) {
        struct replica_request *request =
            replica->unsent != NULL ? replica->unsent : oldest_waiting(replica);
        if (request == NULL || !fits(replica, request)) break;
        const uint64_t number = replica->unsent != NULL ? request->number : replica->number + 1;
        if (last != 0 && number != last + 1) break;
        const enum forest_room room = room_for(replica, request->event_count);
        if (room == FOREST_IO_ERROR) return true;
        if (room == FOREST_ROOM_WAITS) break;
        progress = true;
        if (room != FOREST_ROOM) {
            refuse_own(replica, request, room);
            continue;
        }
        if (replica->unsent == NULL) {
            (void) number_oldest(replica);
        } else {
            replica->unsent = request_of(request->link.next);
        }
        last = number;
        sessions_take(&replica->accepted, replica->slot, replica->session, number);
        add_batch(replica, request);
    }
    return progress;
}

static void
refuse(
    struct replica *replica,
    uint8_t slot,
    const struct message_numbers *numbers,
    enum forest_room room)
{
    struct replica_peer *peer = &replica->peers[slot];
    const struct session *accepted = &replica->accepted.slots[slot];
    assert(accepted->session == numbers->session);
    if (peer->refused_first == 0 || peer->refused_view != replica->view) {
        peer->refused_first = accepted->number + 1;
        peer->refused_view = replica->view;
    }
    peer->refused_reason = room == FOREST_DISK_FULL ? MESSAGE_REFUSE_DISK : MESSAGE_REFUSE_MEMORY;
    /* (V14) Their numbers are used before anybody hears of it. */
    const uint64_t last = numbers->number + numbers->count - 1;
    sessions_take(&replica->accepted, slot, numbers->session, last);
    say_refuse(replica, slot, numbers);
}

/*
 * Takes the oldest message of a member, as a whole. Returns false if it must wait for the next
 * prepare.
 */
static bool
take_message(struct replica *replica, uint8_t slot, const struct message_header *header)
{
    struct multi_batch_reader reader;
    struct state_machine_batch batch;
    struct multi_batch_writer *writer = &replica->writer;
    const struct message_numbers *numbers = &header->as.numbers;
    if (!accepts(replica, slot, header)) return true; /* It came twice. */
    if (writer->origin_count > 0) {
        /* What follows it in the prepare must have the next numbers. */
        const struct multi_batch_origin *last = &writer->origins[writer->origin_count - 1];
        if (last->slot == slot && last->number + 1 != numbers->number) return false;
    }
    const bool opened = request_open(replica, slot, header, &reader);
    assert(opened);
    const struct multi_batch_sums sums = multi_batch_sums(&reader);
    if (!multi_batch_fits_all(writer, sums, reader.batch_count)) return false;
    const enum forest_room room = room_for(replica, sums.event_count);
    if (room == FOREST_ROOM_WAITS || room == FOREST_IO_ERROR) return false;
    if (room != FOREST_ROOM) {
        refuse(replica, slot, numbers, room);
        return true;
    }
    while (multi_batch_next(&reader, &batch)) multi_batch_add(writer, &reader.source, &batch);
    sessions_take(&replica->accepted, slot, numbers->session, reader.source.number);
    replica->peers[slot].refused_first = 0;
    return true;
}

static bool
take_messages(struct replica *replica, uint8_t slot)
{
    struct queue *waiting = &replica->peers[slot].requests;
    bool progress = false;
    while (!queue_empty(waiting)) {
        struct message *message = container_of(queue_peek(waiting), struct message, link);
        if (!take_message(replica, slot, message->header)) break;
        (void) queue_pop(waiting);
        message_release(&replica->pool, message);
        progress = true;
    }
    return progress;
}

static bool
slot_waits(const struct replica *replica, uint8_t slot)
{
    if (slot != replica->slot) return !queue_empty(&replica->peers[slot].requests);
    return replica->unsent != NULL || !queue_empty(&replica->requests);
}

/* Takes what waits of this slot and those behind it. */
static bool
take_from(struct replica *replica, uint8_t first)
{
    bool progress = false;
    for (uint8_t slot = first; slot < MEMBERS_MAX; slot++) {
        const bool own = slot == replica->slot;
        if (!slot_waits(replica, slot)) continue;
        progress |= own ? take_own(replica) : take_messages(replica, slot);
        if (replica->status == REPLICA_STOPPED) return true;
        if (!slot_waits(replica, slot)) continue;
        /* Full, or without room. Those behind have their turn next. */
        replica->take_first = (uint8_t) ((slot + 1) % MEMBERS_MAX);
        return progress;
    }
    return progress;
}

/*
 * A prepare has its batches in the order of slots. If it is full before all had their turn, the
 * next one begins with those that had none.
 */
bool
replica_requests_take(struct replica *replica)
{
    const uint8_t first = replica->take_first;
    replica->take_first = 0;
    if (take_from(replica, first)) return true;
    return first > 0 && take_from(replica, 0);
}
