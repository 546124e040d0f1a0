-- Ids are uuids, read as big-endian numbers.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ledger;
RESET client_min_messages;
SELECT ledger.id(0), ledger.id(1), ledger.id(65536);
SELECT ledger.id(340282366920938463463374607431768211455);
SELECT ledger.id(1) < ledger.id(256) AS ordered_as_numbers;
SELECT ledger.id_numeric('ffffffff-ffff-ffff-ffff-ffffffffffff');
SELECT ledger.id_numeric('00000000-0000-0000-0000-000000000000');
SELECT ledger.amount_max() = ledger.id_numeric('ffffffff-ffff-ffff-ffff-ffffffffffff') AS is_max;

-- All powers of two and ten, with their neighbours, there and back; none may differ in value or form.
SELECT count(*) AS tried,
    count(*) FILTER (WHERE ledger.id_numeric(ledger.id(v))::text <> v::text) AS different,
    count(*) FILTER (WHERE numeric_send(ledger.id_numeric(ledger.id(v))) <> numeric_send(v)) AS unlike
FROM (
    SELECT trim_scale(power + d) AS v
    FROM (
        SELECT 2::numeric ^ i AS power FROM generate_series(0, 128) i
        UNION ALL
        SELECT 10::numeric ^ i FROM generate_series(0, 38) i
    ) powers, generate_series(-2, 2) d
) numbers
WHERE v BETWEEN 0 AND ledger.amount_max();

-- Whole, whatever the scale; but never rounded.
SELECT ledger.id(7.000);
SELECT ledger.id(7.001);
SELECT ledger.id(0.1);
SELECT ledger.id(-1);
SELECT ledger.id('NaN');
SELECT ledger.id('Infinity');
SELECT ledger.id(340282366920938463463374607431768211456);
SELECT ledger.id(1e100);
SELECT ledger.id(NULL) IS NULL AS is_null;

-- Version 7, variant 2, strictly increasing within a session, and of now.
SELECT substr(u::text, 15, 1) AS version, substr(u::text, 20, 1) IN ('8', '9', 'a', 'b') AS variant
FROM ledger.uuidv7() u;
SELECT count(*), bool_and(u > before) AS increasing
FROM (
    SELECT u, lag(u) OVER (ORDER BY i) AS before
    FROM (SELECT i, ledger.uuidv7() AS u FROM generate_series(1, 10000) i) made
) pairs;
SELECT abs(extract(epoch FROM clock_timestamp()) -
    trunc(ledger.id_numeric(ledger.uuidv7()) / 2::numeric ^ 80) / 1000) < 60 AS is_now;
