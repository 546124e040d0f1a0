/* SPDX-License-Identifier: PostgreSQL */
/* Arithmetic of the two rings, for journal*.c only. */
#ifndef LEDGER_STORE_JOURNAL_INTERNAL_H
#define LEDGER_STORE_JOURNAL_INTERNAL_H

#include <string.h>

#include "base/assert.h"
#include "store/journal.h"

/* The entry of headers.wal that belongs to an op. */
static inline uint64_t
journal_entry(const struct journal *journal, uint64_t op)
{
    return headers_log_entry(journal->headers_count, op);
}

/* The sector of headers.wal that contains this entry. */
static inline uint64_t
journal_sector(const struct journal *journal, uint64_t op)
{
    return journal_entry(journal, op) / HEADERS_PER_SECTOR;
}

/* Its first entry. */
static inline uint64_t
journal_sector_entry(const struct journal *journal, uint64_t op)
{
    return journal_sector(journal, op) * HEADERS_PER_SECTOR;
}

/* Where in prepares.wal a position lies. */
static inline uint64_t
journal_place(const struct journal *journal, uint64_t position)
{
    assert(position % SECTOR_SIZE == 0);
    return position % journal->prepares_size_bytes;
}

/* The position right after a prepare. */
static inline uint64_t
journal_end(const struct prepare_header *header)
{
    return header->position + prepare_size_on_disk(header);
}

/*
 * No prepare may reach beyond this position: in the ring, the first prepare after the checkpoint
 * lies there (J3).
 */
static inline uint64_t
journal_limit(const struct journal *journal)
{
    return journal_end(&journal->checkpoint) + journal->prepares_size_bytes;
}

/*
 * A tombstone in the image of headers.wal: something was there, and is unknown. On disk it is
 * neither a header nor blank.
 */
#define JOURNAL_TOMBSTONE_BYTE 0xff

static inline void
journal_bury(struct prepare_header *entry)
{
    memset(entry, JOURNAL_TOMBSTONE_BYTE, sizeof(*entry));
}

static inline bool
journal_buried(const struct prepare_header *entry)
{
    return entry->op == UINT64_MAX;
}

/* Something is being written, or was, up to this position: what lay there is gone. */
void journal_wrote(struct journal *journal, uint64_t position);

/* (J4, P2): does `header` continue the log after `parent`, as far as headers can tell? */
static inline bool
journal_follows(
    const struct journal *journal,
    const struct prepare_header *parent,
    const struct prepare_header *header)
{
    const uint64_t size_on_disk = prepare_size_on_disk(header);
    if (header->op != parent->op + 1) return false;
    if (header->parent != parent->checksum) return false;
    return header->position ==
           prepare_next_position(parent, size_on_disk, journal->prepares_size_bytes);
}

#endif
