/* SPDX-License-Identifier: PostgreSQL */
/*
 * Frames and bodies as a peer may send them: of each command, changed at random, with sums that are
 * made right again. Whatever is accepted is safe to use, and stays accepted.
 */
#include <string.h>

#include "base/checksum.h"
#include "base/units.h"
#include "fuzz.h"
#include "unit/message_fixture.h"
#include "vsr/message_pool.h"

static struct message_buffer buffer;
static struct message_header *const frame = &buffer.header;

static void
change(struct prng *prng, uint8_t *bytes, uint64_t size)
{
    const uint64_t changes = prng_below(prng, 5);
    for (uint64_t i = 0; i < changes; i++) {
        const uint64_t at = prng_below(prng, size);
        switch (prng_below(prng, 4)) {
        case 0: bytes[at] = (uint8_t) prng_next(prng); break;
        case 1: bytes[at] ^= (uint8_t) (1U << prng_below(prng, 8)); break;
        case 2: bytes[at] = 0; break;
        default: bytes[at] = (uint8_t) (bytes[at] + prng_range(prng, 1, 255)); break;
        }
    }
}

/* What a forger would do, prepares' own sums included. */
static void
reseal(struct prng *prng)
{
    if (frame->size < MESSAGE_HEADER_SIZE || frame->size > MESSAGE_SIZE_MAX) {
        if (prng_chance(prng, 1, 2)) return;
        frame->size = (uint32_t) prng_range(prng, MESSAGE_HEADER_SIZE, MESSAGE_SIZE_MAX);
    }
    struct prepare_header *prepare = message_body(frame);
    const bool sized = prepare->size >= PREPARE_HEADER_SIZE && prepare->size <= PREPARE_SIZE_MAX;
    if (frame->command == MESSAGE_PREPARE && sized && prng_chance(prng, 1, 2)) {
        prepare_seal(prepare);
    }
    frame->checksum_body = 0;
    if (frame->command != MESSAGE_PREPARE && frame->size > MESSAGE_HEADER_SIZE) {
        frame->checksum_body = checksum(buffer.body, frame->size - MESSAGE_HEADER_SIZE);
    }
    frame->checksum = checksum((const uint8_t *) frame + 16, MESSAGE_HEADER_SIZE - 16);
}

void
fuzz_message(struct prng *prng, uint64_t rounds)
{
    for (uint64_t round = 0; round < rounds; round++) {
        const uint8_t command = (uint8_t) prng_range(prng, 1, MESSAGE_COMMAND_COUNT - 1);
        message_fixture_make(frame, command, prng);
        const uint64_t size = frame->size;
        assert(message_header_valid(frame) && message_body_valid(frame));
        change(prng, (uint8_t *) frame + 16, MESSAGE_HEADER_SIZE - 16);
        if (size > MESSAGE_HEADER_SIZE) {
            change(prng, buffer.body, min_u64(size - MESSAGE_HEADER_SIZE, 4 * KIB));
        }
        if (prng_chance(prng, 7, 8)) reseal(prng);
        if (!message_header_valid(frame)) continue;
        assert(frame->size <= MESSAGE_SIZE_MAX);
        assert(message_class_for(frame->size) < MESSAGE_CLASS_COUNT);
        message_pad(frame);
        if (!message_body_valid(frame)) continue;
        (void) message_fixture_use(frame);
        message_seal(frame, frame->version);
        assert(message_header_valid(frame) && message_body_valid(frame));
    }
}
