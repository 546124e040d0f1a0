/* SPDX-License-Identifier: PostgreSQL */
/* Valid messages of every command, with random content. */
#ifndef LEDGER_TEST_UNIT_MESSAGE_FIXTURE_H
#define LEDGER_TEST_UNIT_MESSAGE_FIXTURE_H

#include "base/prng.h"
#include "vsr/message.h"

#define FIXTURE_CLUSTER 77

/* A buffer as the pool has them: the frame lies before a sector boundary. */
struct message_buffer {
    uint8_t before[SECTOR_SIZE - MESSAGE_HEADER_SIZE];
    struct message_header header;
    uint8_t body[PREPARE_SIZE_MAX + BLOCK_SIZE];
} __attribute__((aligned(4096)));

/* Makes a sealed message of the command, within the buffer. */
void message_fixture_make(struct message_header *header, uint8_t command, struct prng *prng);

/* A message with a body of exactly so many bytes, which the prepare's header is a part of. */
void message_fixture_prepare(struct message_header *header, uint64_t op, uint32_t body_size);

/* Uses everything of a valid message as a receiver would; the sum keeps it from being left out. */
uint64_t message_fixture_use(const struct message_header *header);

#endif
