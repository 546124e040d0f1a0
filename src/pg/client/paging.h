/* SPDX-License-Identifier: PostgreSQL */
/*
 * Reads of any length, page by page: for the functions that read (query.c) and for the foreign
 * tables (fdw/request.c).
 *
 *      struct paging what all pages of one read share: operation, direction, window, limit
 *      struct paging_strand    one filter, or one list of ids: what wasn't read yet, and its page
 *
 *      paging_init(&paging, LEDGER_QUERY_TRANSFERS, reversed);
 *      … narrow paging.timestamp_min, paging.timestamp_max; set paging.row_limit …
 *      paging_begin(&paging);
 *      paging_strand_start(&paging, &strand, &filter);
 *      while (paging_next(&paging, &strand)) … strand.count records at strand.records …
 *      paging_strand_end(&strand);
 *
 * Most reads have one strand. A read for several values (code IN (1, 2)) has one for each value,
 * and all have the same window.
 *
 * Pages grow. The first fits a backend's own small slot, since most reads are short or stop early;
 * the others need a large slot. A page continues behind the last record of the page before. Its
 * records are copied out of the slot, which is owned only during a call: between two pages, a scan
 * may wait for its client for hours.
 *
 * A read shows one instant, however many pages and strands it has, and whatever is written
 * meanwhile. It is the state after some op. The first page that is asked for fixes it, and it is
 * passed on to all others. It contains everything that was acknowledged before the read began. From
 * this follows:
 *  - Sums over accounts balance.
 *  - The read ends, even if it creates what it reads, or if others never stop creating.
 *  - A client that goes on later, from its last timestamp, misses nothing.
 */
#ifndef LEDGER_PG_CLIENT_PAGING_H
#define LEDGER_PG_CLIENT_PAGING_H

#include "postgres.h"

#include "ledger/types.h"

#define PAGING_NO_LIMIT UINT64_MAX

struct paging {
    enum ledger_operation operation;
    bool reversed;
    bool by_expiry; /* For LEDGER_QUERY_HOLDS: in the order of expiry, not of timestamps. */
    uint64_t timestamp_min; /* Inclusive: 1 … TIMESTAMP_MAX. An empty window has min > max. */
    uint64_t timestamp_max;
    uint64_t row_limit;   /* The most rows of each strand. */
    /* How many strands are read at the same time; their pages share the memory. */
    uint32_t strands;
    MemoryContext memory; /* Where pages live. */
    struct ledger_instant instant; /* Not `known` before the first page. */
    uint64_t requests;    /* Requests made so far. */
    uint64_t records;     /* Records read so far. */
};

/* A filter. Its window, limit and direction are filled in for each page. */
union paging_filter {
    struct account_filter account;
    struct query_filter query;
    struct hold_filter hold;
    struct change_events_filter change_events;
};

struct paging_strand {
    union paging_filter filter;
    const u128 *ids; /* The ids of a lookup; they belong to the caller. */
    uint32_t ids_count;
    uint32_t ids_next;
    uint64_t timestamp_min; /* What is left of the window. */
    uint64_t timestamp_max;
    uint64_t rows_left;
    uint32_t pages;
    bool ended; /* Nothing follows this page. */
    char *records;
    uint32_t records_max;
    uint32_t count;
};

/* Begins with the widest window, no limit, one strand, and pages in the current memory context. */
void paging_init(struct paging *paging, enum ledger_operation operation, bool reversed);

/* Forgets what was read before: the next page fixes a new instant. */
void paging_begin(struct paging *paging);

/*
 * The strand must be zeroed, or have been used for another filter, whose memory is used again then.
 */
void paging_strand_start(
    const struct paging *paging,
    struct paging_strand *strand,
    const union paging_filter *filter);
/* For a lookup. It has no limit and no window, and records come in the order of the ids. */
void paging_strand_start_lookup(struct paging_strand *strand, const u128 *ids, uint32_t count);

/*
 * Reads the next page that isn't empty; false at the end. Raises an error if the engine can't
 * answer.
 */
bool paging_next(struct paging *paging, struct paging_strand *strand);

void paging_strand_end(struct paging_strand *strand);

const void *paging_record(
    const struct paging *paging,
    const struct paging_strand *strand,
    uint32_t index);
uint64_t paging_timestamp(const struct paging *paging, const void *record);

#endif
