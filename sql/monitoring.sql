-- The monitoring views. Numbers are renewed every 100 ms.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ledger;
RESET client_min_messages;

-- Until they were renewed after a call has been answered, so that they have all of it.
DO $$
DECLARE
    answered timestamptz := clock_timestamp();
BEGIN
    FOR i IN 1 .. 9000 LOOP
        EXIT WHEN (SELECT published_at FROM ledger.status) > answered;
        PERFORM count(*) FROM ledger.lookup_accounts(ARRAY[ledger.id(930001)]);
        answered := clock_timestamp();
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$$;
SELECT * FROM ledger.stats \gset before_
SELECT accounts AS before_accounts, transfers AS before_transfers, op AS before_op FROM ledger.status \gset
CREATE TEMP TABLE events_before AS SELECT * FROM ledger.stats_events;
CREATE TEMP TABLE stats_before AS SELECT reads FROM ledger.stats;

SELECT status FROM ledger.create_accounts(ARRAY[
    ROW(ledger.id(930001), NULL, 0, 0, 930, 1, '{debits_must_not_exceed_credits}', NULL),
    ROW(ledger.id(930002), NULL, 0, 0, 930, 1, '{}', NULL),
    ROW(ledger.id(930003), NULL, 0, 0, 0, 1, '{}', NULL)
]::ledger.account_input[]);
SELECT status FROM ledger.create_transfers(ARRAY[
    ROW(ledger.id(930101), ledger.id(930002), ledger.id(930001), 5, NULL, NULL, 0, 0, 0, 930, 1, '{}', NULL),
    ROW(ledger.id(930101), ledger.id(930002), ledger.id(930001), 5, NULL, NULL, 0, 0, 0, 930, 1, '{}', NULL),
    ROW(ledger.id(930102), ledger.id(930001), ledger.id(930002), 6, NULL, NULL, 0, 0, 0, 930, 1, '{}', NULL)
]::ledger.transfer_input[]);
SELECT count(*) FROM ledger.lookup_accounts(ARRAY[ledger.id(930001)]);
-- Until they have the last call.
DO $$
BEGIN
    FOR i IN 1 .. 9000 LOOP
        EXIT WHEN (SELECT now_is.reads > before.reads FROM ledger.stats now_is, stats_before before);
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$$;

SELECT role, message, detail, hint, view FROM ledger.status;
SELECT accounts - :before_accounts AS accounts, transfers - :before_transfers AS transfers, op - :before_op >= 2 AS ops
FROM ledger.status;
SELECT commit_op = op AS committed, checkpoint_op <= op AS checkpoint, wal_used BETWEEN 0 AND wal_size AS wal,
    grid_used <= grid_size AS grid, memory_size = 256 * 1024 * 1024 AS memory,
    io_method IN ('io_uring', 'sync') AS io_method, io_direct IS NOT NULL AS io_direct,
    data_directory <> '' AS data_directory, worker_pid > 0 AS worker_pid, worker_starts > 0 AS worker_starts,
    opened_at < published_at AND published_at <= clock_timestamp() AS times, ops_replayed >= 0 AS ops_replayed,
    abs("timestamp" / 1e9 - extract(epoch FROM now())) < 60 AS "timestamp"
FROM ledger.status;
SELECT requests - :before_requests AS requests, requests_refused - :before_requests_refused AS refused,
    reads - :before_reads AS reads, prepares - :before_prepares >= 2 AS prepares,
    accounts_created - :before_accounts_created AS accounts, transfers_created - :before_transfers_created AS transfers,
    events_failed - :before_events_failed AS failed
FROM ledger.stats;
SELECT batch_events_p50 BETWEEN 1 AND batch_events_p99 AND batch_events_p99 <= batch_events_max AS batch_events,
    batch_requests_p50 BETWEEN 1 AND batch_requests_p99 AND batch_requests_p99 <= batch_requests_max AS batch_requests,
    commit_latency_us_p50 > 0 AND commit_latency_us_p50 <= commit_latency_us_p99
        AND commit_latency_us_p99 <= commit_latency_us_max AS latency,
    prepares_log_syncs - :before_prepares_log_syncs >= 2 AS prepares_syncs,
    headers_log_syncs - :before_headers_log_syncs >= 2 AS headers_syncs,
    prepares_log_bytes - :before_prepares_log_bytes >= 8192 AS prepares_bytes,
    headers_log_bytes - :before_headers_log_bytes >= 8192 AS headers_bytes,
    solo_write_method IN ('io_uring', 'sync') AS solo_method,
    solo_writes_io_uring + solo_writes_sync BETWEEN 0 AND prepares + pulses AS solo_writes,
    (solo_write_us_io_uring > 0 OR solo_writes_io_uring <= 1) IS TRUE
        AND (solo_write_us_sync > 0 OR solo_writes_sync <= 1) IS TRUE AS solo_us,
    checkpoints >= 0 AS checkpoints, since < published_at AS since
FROM ledger.stats;
SELECT grid_used + grid_free = grid_size AS grid, grid_free >= 0 AS grid_free, block_size,
    blocks_written >= 0 AS blocks_written, blocks_read >= 0 AS blocks_read,
    bytes_written >= 16384 + blocks_written * block_size AS bytes_written,
    round(bytes_per_transfer * s.transfers_created) = bytes_written AS bytes_per_transfer,
    round((write_amplification * 128 * 1000)::numeric) = round((bytes_per_transfer * 1000)::numeric) AS write_amplification,
    cache_blocks > 1000 AS cache_blocks, cache_hits >= 0 AS cache_hits, cache_misses >= 0 AS cache_misses,
    cache_evictions >= 0 AS cache_evictions, cache_hit_ratio IS NULL OR cache_hit_ratio BETWEEN 0 AND 1 AS cache_hit_ratio,
    tables >= 0 AS tables, tables_max > tables AS tables_max, g.since = s.since AS since, g.published_at >= g.since AS published
FROM ledger.storage g, ledger.stats s;
SELECT kind, status, a.count - coalesce(b.count, 0) AS count
FROM ledger.stats_events a LEFT JOIN events_before b USING (kind, status)
WHERE a.count <> coalesce(b.count, 0) ORDER BY kind, status;

-- Who may monitor the server may monitor the ledger, and sees no account.
CREATE ROLE monitoring_role;
SET ROLE monitoring_role;
SELECT role FROM ledger.status;
RESET ROLE;
GRANT pg_monitor TO monitoring_role;
SET ROLE monitoring_role;
SELECT role FROM ledger.status;
SELECT requests > 0 AS requests FROM ledger.stats;
SELECT count(*) > 0 AS events FROM ledger.stats_events;
SELECT grid_size >= 0 AS grid FROM ledger.storage;
SELECT count(*) FROM ledger.accounts;
SELECT count(*) FROM ledger.lookup_accounts(ARRAY[ledger.id(930001)]);
RESET ROLE;
DROP ROLE monitoring_role;
